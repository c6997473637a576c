/* Token ids on a command line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/error.h"

/* "1,2,3" (spaces allowed) to ids; *ids is allocated. An empty text gives none. */
bool ids_parse(const char *text, uint32_t **ids, size_t *count, struct error *err);
