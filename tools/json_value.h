/* Making JSON for --json: values that hold whatever a file holds. A value that could not be
 * allocated is NULL, and setting NULL fails, so that the results of the sets tell at the end
 * whether everything is there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

/* Text of a file, as inspect_text shows it. */
json_t *json_value_text(const char *text, uint64_t bytes);
/* JSON numbers above 2^63 - 1 do not fit the library and become reals; no length or count comes
 * near. */
json_t *json_value_whole(uint64_t value);
/* null for what is no number. */
json_t *json_value_real(double value);
/* Takes the value, also where it fails. */
bool json_value_set(json_t *object, const char *key, json_t *value);
