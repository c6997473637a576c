/* What Criterion does not bring: files for tests, and the random numbers and comparisons that the
 * checks have. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "checks/check_random.h"

/* A fresh folder that is removed when the test program ends. Owned by the library. */
const char *check_temp_dir(void);
/* folder/name, in a buffer that lives until the test program ends. */
const char *check_path(const char *folder, const char *name);
/* A file of the source tree ("models/moxie-tiny.moxie"); of the reference data that lies beside the
 * checkout ("reference/vocabs/x"): NULL if it is not there, and the test should call cr_skip(). */
const char *check_source_path(const char *name);
const char *check_shared_path(const char *name);
/* Whole file in memory, NUL after the end; free it. NULL if it cannot be read. */
char *check_read_file(const char *path, size_t *bytes);
bool check_write_file(const char *path, const void *data, size_t bytes);
