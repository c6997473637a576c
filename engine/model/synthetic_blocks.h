/* Random matrices of any stored type without quantising them: a deck of some hundred pieces of
 * random rows is quantised once by the type's own codec, and rows are dealt from it at random. So
 * every block is valid and its bytes are distributed as those of real weights, and a model is
 * written at the speed of the disk.
 *
 * A piece is one block, at least 32 values. Values are normally distributed (the sum of four
 * uniform ones, exact on every machine) with mean 0. In the first piece of a row the component
 * along the common direction can be chosen: the unit vector (1, -1, 1, -1, ...) / sqrt(32) of the
 * first 32 columns (synthetic_model.c tells what for).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/dtype.h"
#include "format/error.h"

#define SYNTHETIC_COMMON 32 /* columns of the common direction */

struct synthetic_deck {
    const struct dtype_info *type;
    double deviation; /* standard, of a value */
    bool first;       /* pieces for the beginning of a row, that answer the common direction with */
    double common;    /* (the product of piece and direction) */
    uint32_t piece_values, piece_bytes, n_pieces;
    uint8_t *pieces; /* blocks as ggml has them */
};

/* type, deviation, first and common are set. Same seed, same deck. */
bool synthetic_deck_make(struct synthetic_deck *deck, uint64_t seed, struct error *err);
void synthetic_deck_free(struct synthetic_deck *deck);

/* Writes a row of cols values (a multiple of 32 and of the type's blocks). `first` is for its first
 * piece, NULL: `deck` too. */
void synthetic_deck_deal(const struct synthetic_deck *deck, const struct synthetic_deck *first,
                         uint64_t cols, uint64_t seed, uint8_t *row);

/* A well-mixed seed of two numbers. */
uint64_t synthetic_seed(uint64_t a, uint64_t b);
/* Mean 0, standard deviation 1. */
float synthetic_normal(uint64_t *state);
/* The sign of a column of the common direction. */
static inline float synthetic_sign(uint64_t column)
{
    return column % 2 == 0 ? 1.0f : -1.0f;
}
