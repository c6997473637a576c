#include "engine/model/synthetic_blocks.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/quant.h"
#include "format/quant_blocks.h"

#define DECK_VALUES (128u * 1024)
#define MAX_PIECE 256

/* The next number of a generator (SplitMix64; Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t synthetic_seed(uint64_t a, uint64_t b)
{
    uint64_t state = a;
    state = next_random(&state) ^ b;
    return next_random(&state);
}

float synthetic_normal(uint64_t *state)
{
    uint64_t bits = next_random(state);
    int32_t sum = -2 * 65535;
    for (int i = 0; i < 4; i++) {
        sum += (int32_t)(bits >> (16 * i) & 0xFFFF);
    }
    /* Four uniform numbers of variance (2^32 - 1) / 12 each. */
    return (float)sum / 37837.0f;
}

static void fill_piece(const struct synthetic_deck *deck, uint64_t *state, float *values)
{
    for (uint32_t i = 0; i < deck->piece_values; i++) {
        values[i] = (float)deck->deviation * synthetic_normal(state);
    }
    if (!deck->first) {
        return;
    }
    double along = 0;
    for (uint32_t i = 0; i < SYNTHETIC_COMMON; i++) {
        along += values[i] * synthetic_sign(i);
    }
    double change = deck->common / sqrt(SYNTHETIC_COMMON) - along / SYNTHETIC_COMMON;
    for (uint32_t i = 0; i < SYNTHETIC_COMMON; i++) {
        values[i] += (float)change * synthetic_sign(i);
    }
}

bool synthetic_deck_make(struct synthetic_deck *deck, uint64_t seed, struct error *err)
{
    const struct dtype_info *type = deck->type;
    deck->piece_values =
        type->block_elements > SYNTHETIC_COMMON ? type->block_elements : SYNTHETIC_COMMON;
    assert(deck->piece_values <= MAX_PIECE && deck->piece_values % type->block_elements == 0);
    deck->piece_bytes = deck->piece_values / type->block_elements * type->ggml_block_bytes;
    deck->n_pieces = DECK_VALUES / deck->piece_values;
    deck->pieces = malloc((size_t)deck->n_pieces * deck->piece_bytes);
    if (!deck->pieces) {
        return error_set(err, "not enough memory for random weights");
    }
    float values[MAX_PIECE];
    _Alignas(DTYPE_ROW_ALIGN) uint8_t memory[MAX_PIECE * sizeof(float)];
    uint8_t *planes[DTYPE_MAX_PLANES] = {0};
    for (uint32_t p = 0; p < type->n_planes; p++) {
        planes[p] = memory + dtype_plane_offset(type, p, 1, deck->piece_values);
    }
    for (uint32_t i = 0; i < deck->n_pieces; i++) {
        fill_piece(deck, &seed, values);
        quant_of(type->dtype)->encode_row(values, NULL, deck->piece_values, planes);
        quant_planes_to_blocks(type, (const uint8_t *const *)planes, deck->piece_values,
                               deck->pieces + (size_t)i * deck->piece_bytes);
    }
    return true;
}

void synthetic_deck_free(struct synthetic_deck *deck)
{
    free(deck->pieces);
    deck->pieces = NULL;
}

/* A piece of the deck; each draw takes 16 of the bits that a number has. */
static const uint8_t *draw(const struct synthetic_deck *deck, uint64_t bits)
{
    return deck->pieces + (size_t)((bits & 0xFFFF) * deck->n_pieces >> 16) * deck->piece_bytes;
}

void synthetic_deck_deal(const struct synthetic_deck *deck, const struct synthetic_deck *first,
                         uint64_t cols, uint64_t seed, uint8_t *row)
{
    uint64_t pieces = cols / deck->piece_values, bits = 0;
    assert(cols % deck->piece_values == 0 && (!first || first->piece_bytes == deck->piece_bytes));
    for (uint64_t i = 0; i < pieces; i++) {
        bits = i % 4 == 0 ? next_random(&seed) : bits >> 16;
        const uint8_t *piece = draw(i == 0 && first ? first : deck, bits);
        memcpy(row + i * deck->piece_bytes, piece, deck->piece_bytes);
    }
}
