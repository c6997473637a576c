/* A JSON file of a model folder. */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "format/error.h"

/* Loads folder/name. *root is NULL if there is no such file; json_decref it otherwise. Texts may
 * hold NUL characters; keys that come twice are refused. If any integer of the file is too large
 * for 64 bits, all of them come as reals. False, with the file named, if the file cannot be read or
 * is not JSON. */
bool json_file_load(const char *folder, const char *name, json_t **root, struct error *err);

/* folder/name, allocated; NULL if memory runs out. */
char *json_file_path(const char *folder, const char *name, struct error *err);
