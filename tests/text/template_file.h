/* Chat templates of the reference data beside the checkout. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* The text of a template file (.jinja), or of the model in a folder, by its path in the reference
 * data; free it. NULL if it is not there. */
char *template_file_read(const char *name);

/* What the vectors were made with: 15 January 2026, 12:34:56; and the hash (FNV-1a) that stands in
 * them for long texts. */
extern const struct tm template_file_time;
uint64_t template_file_hash(const char *data, size_t bytes);
