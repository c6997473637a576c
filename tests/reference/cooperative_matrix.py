"""Makes shaders/cooperative_matrix.zst, the SPIR-V of the kernels that need a newer glslang than many
systems have (GL_KHR_cooperative_matrix), or compares it with a fresh build.

    cooperative_matrix.py --check|--write GLSLANG SHADERS BUILD TYPE ...

SHADERS is the folder shaders/, BUILD that of a build, for weight_readers.glsl; TYPEs of weights as
shaders/meson.build lists them. Both need the program zstd. --check fails where the sources are not
those that the archive was made of; it exits with 77 (skipped) where nothing more can be compared,
because glslang cannot compile such kernels, or is of another version, whose words would differ.

The archive, compressed: 64 bytes of text, glslang's version; 64 of the sources' SHA-256; then for each
kernel 60 bytes of name, a 32-bit number of bytes, and so many of SPIR-V.
"""
import glob
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

KERNELS = ["expert_down_mat", "expert_gate_up_mat", "head_matmul", "matmul"]


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def sources_hash(shaders):
    """Of the kernels and everything that they include; weight_readers.glsl, which a build makes,
    includes every file of quants/."""
    files, digest = [], hashlib.sha256()
    todo = [kernel + ".comp" for kernel in KERNELS]
    while todo:
        name = todo.pop()
        if name in files:
            continue
        files.append(name)
        with open(os.path.join(shaders, name)) as file:
            for included in re.findall(r'^#include "(.*)"', file.read(), re.MULTILINE):
                if included == "weight_readers.glsl":
                    todo += [os.path.relpath(path, shaders)
                             for path in glob.glob(os.path.join(shaders, "quants", "*.glsl"))]
                    continue
                beside = os.path.normpath(os.path.join(os.path.dirname(name), included))
                todo.append(beside if os.path.exists(os.path.join(shaders, beside)) else included)
    for name in sorted(files):
        with open(os.path.join(shaders, name), "rb") as file:
            digest.update(name.encode() + b"\0" + file.read() + b"\0")
    return digest.hexdigest().encode()


def build(glslang, shaders, folder, types):
    if not shutil.which(glslang):
        skip("glslang is not installed")
    version = subprocess.run([glslang, "--version"], capture_output=True, text=True)
    if version.returncode != 0:
        skip("glslang does not run")
    first = version.stdout.split("\n")[0].encode()[:63]
    archive = struct.pack("64s64s", first, sources_hash(shaders))
    for kernel in KERNELS:
        for dtype in types:
            name = f"{kernel}_{dtype}_cooperative_matrix"
            with tempfile.TemporaryDirectory() as scratch:
                out = os.path.join(scratch, "out.spv")
                result = subprocess.run(
                    [glslang, "--quiet", "-V", "-g0", "--target-env", "vulkan1.2",
                     "-DDTYPE_" + dtype.upper(), "-DTILE_COOPERATIVE_MATRIX", "-I" + shaders,
                     "-I" + folder, "-o", out, os.path.join(shaders, kernel + ".comp")],
                    capture_output=True, text=True)
                if result.returncode != 0:
                    skip("this glslang cannot compile cooperative matrices")
                with open(out, "rb") as file:
                    words = file.read()
            archive += struct.pack("<60sI", name.encode(), len(words)) + words
    return archive


def main():
    mode, glslang, shaders, folder, types = *sys.argv[1:5], sys.argv[5:]
    path = os.path.join(shaders, "cooperative_matrix.zst")
    if not shutil.which("zstd"):
        skip("the program zstd is not installed")
    if mode == "--write":
        archive = build(glslang, shaders, folder, types)
        packed = subprocess.run(["zstd", "--ultra", "-22", "-c", f"--stream-size={len(archive)}"],
                                input=archive, capture_output=True, check=True).stdout
        with open(path, "wb") as file:
            file.write(packed)
        print(f"{path}: {len(packed)} bytes of {len(archive)}")
        return
    with open(path, "rb") as file:
        kept = subprocess.run(["zstd", "-d", "-c"], input=file.read(), capture_output=True,
                              check=True).stdout
    stale = path + " is not what its sources make; run this with --write"
    if kept[64:128] != sources_hash(shaders):
        sys.exit(stale)
    archive = build(glslang, shaders, folder, types)
    if kept[:64] != archive[:64]:
        skip("the archive is by " + kept[:64].rstrip(b"\0").decode())
    if kept != archive:
        sys.exit(stale)
    print("equal:", len(archive), "bytes")


main()
