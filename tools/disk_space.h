/* Whether a file of known size has room where it is to be written: told before hours of writing,
 * not after. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"

/* False with a sentence if the folder of `path` has fewer bytes free; true, too, where that cannot
 * be asked. A file that stands there already is replaced only when the new one is complete, so that
 * its bytes do not count as free. */
bool disk_space_suffices(const char *path, uint64_t bytes, struct error *err);
