/* Matrix times many vectors (lib/tile.glsl) as dot products of four int8 at a time.
 *
 * 64 columns at a time (lib/tile_step.glsl), the codes of the weights and the packed vectors
 * (lib/packed.glsl) go to shared memory as [four columns][row] and [four columns][vector], beside
 * their scales. A run of columns that share a scale, 16 or 32, is multiplied and summed as integers,
 * then becomes a float:
 *
 *     sum of (s code + m) (t q) = s t (sum of code q) + m (sum of t q)
 *
 * where many types have no m, because their codes are signed or can be made so. x is rounded to
 * int8, 32 columns to a scale; the weights are as they are. Shared memory: up to 6 KiB + 96 bytes a
 * vector.
 */
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_spirv_intrinsics : require

#include "packed.glsl"
#include "tile_step.glsl"

/* OpSDotKHR of two words, PackedVectorFormat4x8Bit (0); capabilities DotProduct and
 * DotProductInput4x8BitPacked: the language has no word for it (SPV_KHR_integer_dot_product). */
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018],
                  id = 4450) int tile_dot4(int a, int b, spirv_literal int packed_format);

#define TILE_FOURS (STEP_COLUMNS / 4u)
#define TILE_RUNS (STEP_COLUMNS / WEIGHTS_SCALE_COLUMNS)
#define TILE_RUN_FOURS (WEIGHTS_SCALE_COLUMNS / 4u)
#define TILE_RUN_SIXTEENS (WEIGHTS_SCALE_COLUMNS / 16u)
/* Of offsets m, and of sums of t q. */
#define TILE_OFFSETS(n) (STEP_OFFSETS ? TILE_RUNS * (n) : 4u)

shared int tile_codes[TILE_FOURS * TILE_ROWS];
shared float tile_scales[TILE_RUNS * TILE_ROWS];
shared float tile_offsets[TILE_OFFSETS(TILE_ROWS)];
shared int tile_x[TILE_FOURS * TILE_TOKENS];
shared float tile_x_scales[TILE_RUNS * TILE_TOKENS];
shared float tile_x_sums[TILE_OFFSETS(TILE_TOKENS)];

void tile_keep_scale(uint at, vec2 scale)
{
    tile_scales[at] = scale.x;
    if (STEP_OFFSETS) {
        tile_offsets[at] = scale.y;
    }
}

void tile_fetch_weights(words w, uint rows, uint cols, uint first_row, uint step)
{
    bool cut = step_is_cut(step, cols);
    for (uint i = 0u; i < STEP_ITEMS; i++) {
        uint row = step_row(i);
        uint second = step_second(i);
        uint piece = step * 2u + second;
        uvec2 codes[4];
        vec2 scales[4];
        weights_piece_codes(w, rows, cols, step_matrix_row(first_row, row, rows),
                            cut ? min(piece, cols / 32u - 1u) : piece, codes, scales);
        for (uint eight = 0u; eight < 4u; eight++) {
            uint at = step_place(second, eight) * 2u * TILE_ROWS + row;
            tile_codes[at] = int(step_signed(codes[eight].x));
            tile_codes[at + TILE_ROWS] = int(step_signed(codes[eight].y));
        }
        if (CODES_SCALES == 1u) {
            bool past = cut && piece >= cols / 32u;
            tile_keep_scale(second * TILE_ROWS + row, past ? vec2(0.0) : scales[0]);
        } else if (second == 0u) { /* the other piece has the same */
            for (uint run = 0u; run < CODES_SCALES; run++) {
                tile_keep_scale(run * TILE_ROWS + row, scales[run]);
            }
        }
    }
}

/* Loads of the vector whose 32 columns begin at `blocks`, 48 bytes each: two sixteens of columns,
 * and what belongs to their runs. */
void tile_load_x(uvec2 blocks, uint cols, uint step, out uvec4 codes[2], out vec4 scales[2])
{
    uint first = step_first_eight() / 2u;
    uint second = CODES_SCALES == 4u ? step & 1u : 0u;
    uint block = step_column(step, first * 2u) / 32u;
    block = step_is_cut(step, cols) ? min(block, cols / 32u - 1u) : block;
    words4 units = words4(step_unit(blocks, block * 3u));
    codes[0] = words4(step_unit(uvec2(units), second)).v[0];
    codes[1] = words4(step_unit(uvec2(units), second)).v[CODES_SCALES == 4u ? 3u : 1u];
    scales[0] = uintBitsToFloat(units.v[2]);
    scales[1] = CODES_SCALES == 4u ? uintBitsToFloat(units.v[5]) : vec4(0.0);
}

void tile_keep_x(uint step, uvec4 codes[2], vec4 scales[2])
{
    uint vector = tile_fetched_vector();
    uint first = step_first_eight() / 2u;
    for (uint i = 0u; i < 2u; i++) {
        for (uint four = 0u; four < 4u; four++) {
            tile_x[((first + i) * 4u + four) * TILE_TOKENS + vector] = int(codes[i][four]);
        }
        if (i == 0u || CODES_SCALES == 4u) {
            uint run = (first + i) / TILE_RUN_SIXTEENS * TILE_TOKENS + vector;
            tile_x_scales[run] = scales[i].x;
            if (STEP_OFFSETS) {
                tile_x_sums[run] = CODES_SCALES != 4u  ? scales[i].w
                                   : (step & 1u) == 0u ? scales[i].y
                                                       : scales[i].z;
            }
        }
    }
}

/* A step of the weights and of the packed vectors. Every invocation must call. */
void tile_fetch(words w, uint rows, uint cols, uint first_row, uvec2 blocks, uint step)
{
    uvec4 codes[2];
    vec4 scales[2];
    tile_load_x(blocks, cols, step, codes, scales); /* on the way while weights are unpacked */
    tile_fetch_weights(w, rows, cols, first_row, step);
    tile_keep_x(step, codes, scales);
}

/* The four columns: sums[j][i] += row i times vector j. */
void tile_multiply(uint four, inout int sums[4][8])
{
    uint a = four * TILE_ROWS + tile_row();
    uint b = four * TILE_TOKENS + tile_vector();
    int rows[8];
    for (uint i = 0u; i < 4u; i++) {
        rows[i] = tile_codes[a + i];
        rows[4u + i] = tile_codes[a + 32u + i];
    }
    for (uint j = 0u; j < 4u; j++) {
        int vector = tile_x[b + j];
        for (uint i = 0u; i < 8u; i++) {
            sums[j][i] += tile_dot4(rows[i], vector, 0);
        }
    }
}

/* The sums of a run, as floats. */
void tile_join(uint run, int sums[4][8], inout vec4 low[4], inout vec4 high[4])
{
    uint a = run * TILE_ROWS + tile_row();
    uint b = run * TILE_TOKENS + tile_vector();
    for (uint i = 0u; i < 4u; i++) {
        for (uint j = 0u; j < 4u; j++) {
            float x_scale = tile_x_scales[b + j];
            low[j][i] += tile_scales[a + i] * x_scale * float(sums[j][i]);
            high[j][i] += tile_scales[a + 32u + i] * x_scale * float(sums[j][4u + i]);
            if (STEP_OFFSETS) {
                low[j][i] += tile_offsets[a + i] * tile_x_sums[b + j];
                high[j][i] += tile_offsets[a + 32u + i] * tile_x_sums[b + j];
            }
        }
    }
}

void tile_multiply_run(uint run, inout vec4 low[4], inout vec4 high[4])
{
    int sums[4][8];
    for (uint j = 0u; j < 4u; j++) {
        for (uint i = 0u; i < 8u; i++) {
            sums[j][i] = 0;
        }
    }
    for (uint four = 0u; four < TILE_RUN_FOURS; four++) {
        tile_multiply(run * TILE_RUN_FOURS + four, sums);
    }
    tile_join(run, sums, low, high);
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    uint first = x_row == NO_VECTOR ? 0u : x_row / cols * PACK_INT8_UNITS(cols);
    uvec2 blocks = step_unit(uvec2(x), first);
    for (uint j = 0u; j < 4u; j++) {
        low[j] = vec4(0.0);
        high[j] = vec4(0.0);
    }
    uint steps = steps_of(cols);
    for (uint step = 0u; step < steps; step++) {
        barrier();
        tile_fetch(w, rows, cols, first_row, blocks, step);
        barrier();
        [[unroll]] for (uint run = 0u; run < TILE_RUNS; run++) {
            tile_multiply_run(run, low, high);
        }
    }
}
