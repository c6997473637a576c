/* Chat templates of the reference data beside the checkout. */
#pragma once

/* The text of a template file (.jinja), or of the model in a folder, by its path in the reference
 * data; free it. NULL if it is not there. */
char *template_file_read(const char *name);
