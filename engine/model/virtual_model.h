/* A file of another format as an open model_file: run without being converted.
 *
 * The head of the .moxie file that a conversion would write is made in memory; its weights are made
 * when they are asked for, of the types the source has them in, bit for bit, or of others if asked
 * to. Slower to start than a
 * .moxie file, and everything takes memory of its own; nothing is written to a disk.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/source.h"
#include "engine/model/type_choice.h"
#include "format/error.h"
#include "format/model_file.h"

/* Takes the source over, also on failure; model_file_close(file) closes it. mix: the types that the
 * weights get; NULL: they keep theirs. n_threads make the weights; 0: one per core. */
bool virtual_model_open(struct model_file *file, struct source *source, const struct type_mix *mix,
                        uint32_t n_threads, struct error *err);
