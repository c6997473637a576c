#!/bin/sh
# Runs the suites that need a Vulkan driver on a newer Mesa and newer validation layers than this system
# has, by hand, as root: makes a tree of another release of Debian with debootstrap, once, and builds and
# tests in it.
#
#     newer_mesa.sh TREE [RELEASE [meson test options ...]]
#
# TREE is a folder of some 3 GiB that is made if it is not there; it and TREE/tmp/moxie, the build, stay
# for the next time. The build is made afresh where kernels have changed since it was made, or where it
# was made of another folder, whose files may be older than what was built of the last. RELEASE is sid by default. What each release adds to Debian 12 (Mesa 22.3):
#
#     sid       lavapipe with VK_KHR_cooperative_matrix (8 x 8 x 8), subgroup size control and a memory
#               budget; validation layers that know what matrices ask for
#     trixie    Mesa 25.0, the newest here whose RADV compiles for GPUs that are not there
#               (RADV_FORCE_FAMILY): RDNA 3 with cooperative matrices, RDNA 4 without; later versions
#               want Mesa's drm-shim, which distributions do not carry
#
# With no options the suites vk, ops and golden run. Expect what a driver lacks to be skipped.
set -eu

[ $# -ge 1 ] || {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
}
tree=$1
release=${2-sid}
shift
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- --suite vk --suite ops --suite golden
source=$(cd "$(dirname "$0")/../.." && pwd)
packages=gcc,libc6-dev,meson,ninja-build,pkg-config,python3,zstd,libzstd-dev,libxxhash-dev
packages=$packages,libjansson-dev,libpcre2-dev,libutf8proc-dev,libedit-dev,libvulkan-dev,libvulkan1
packages=$packages,glslang-tools,spirv-tools,libcriterion-dev,mesa-vulkan-drivers
packages=$packages,vulkan-validationlayers

[ -e "$tree/usr/share/vulkan/icd.d" ] ||
    debootstrap --variant=minbase --include="$packages" "$release" "$tree"
mkdir -p "$tree/mnt/moxie" "$tree/mnt/shared"
undo() {
    for place in "$tree/mnt/moxie" "$tree/mnt/shared" "$tree/proc"; do
        ! mountpoint -q "$place" || umount "$place"
    done
}
trap undo EXIT
mount --bind "$source" "$tree/mnt/moxie"
[ ! -d "$source/../shared" ] || mount --bind "$source/../shared" "$tree/mnt/shared"
mount -t proc proc "$tree/proc"

inside() {
    chroot "$tree" env LC_ALL=C CRITERION_VERBOSITY_LEVEL=1 "$@"
}
made_of=$tree/tmp/moxie/made_of
if [ "$(cat "$made_of" 2>/dev/null)" != "$source" ] ||
    [ -n "$(find "$source/shaders" -newer "$made_of" -print -quit)" ]; then
    rm -rf "$tree/tmp/moxie"
    inside meson setup /tmp/moxie /mnt/moxie
    echo "$source" >"$made_of"
fi
inside meson test -C /tmp/moxie --print-errorlogs "$@"
