/* Golden checkpoints exported to GGUF and opened again, and whether two sources are the same model.
 * What fails, fails the test. */
#pragma once

#include "engine/model/source.h"

/* A file of that name in check_temp_dir(). */
const char *export_source_path(const char *name);
/* The checkpoint of tests/golden/<family>; source_close it. */
struct source *export_source_family(const char *family);
/* Written as model.gguf; returns its path. */
const char *export_source_gguf(const struct source *source);
struct source *export_source_open(const char *path);

void export_source_same_numbers(const struct source *a, const struct source *b);
/* Bit for bit. Returns how many matrices were compared. */
uint64_t export_source_same_weights(const struct source *a, const struct source *b);
