/* What lib/matrix_subgroup.glsl does, in plain arithmetic on shared memory, for devices that cannot:
 * 32 neighbouring invocations stand for a subgroup, and an invocation has up to 8 of a matrix's M x N
 * sums, every 32nd. A loaded matrix is the place it is loaded from, which nobody changes while it is
 * in use. Loops are not unrolled: software drivers take long to compile what comes of it. */
#define MATRIX_A uint
#define MATRIX_B uint
#define MATRIX_SUMS matrix_sums

#define MATRIX_LANES 32u
#define MATRIX_LANE (gl_LocalInvocationIndex % MATRIX_LANES)

struct matrix_sums {
    float v[8];
};

#define MATRIX_ZERO(sums) \
    for (uint v = 0u; v < 8u; v++) { \
        sums.v[v] = 0.0; \
    }
#define MATRIX_LOAD_A(a, first) a = first
#define MATRIX_LOAD_B(b, first) b = first
#define MATRIX_MULTIPLY(a, b, sums) matrix_multiply(a, b, sums)
#define MATRIX_STORE(sums, first) matrix_store(sums, first)

uint matrix_group()
{
    return gl_LocalInvocationIndex / MATRIX_LANES;
}

void matrix_multiply(uint a, uint b, inout matrix_sums sums)
{
    [[dont_unroll]] for (uint i = 0u; i < MATRIX_M * MATRIX_N / MATRIX_LANES; i++) {
        uint element = i * MATRIX_LANES + MATRIX_LANE;
        uint row = a + element % MATRIX_M * TILE_STRIDE;
        uint vector = b + element / MATRIX_M * TILE_STRIDE;
        [[dont_unroll]] for (uint pair = 0u; pair < MATRIX_K / 2u; pair++) {
            sums.v[i] += dot(unpackHalf2x16(tile_weights[row + pair / 4u][pair % 4u]),
                             unpackHalf2x16(tile_x[vector + pair / 4u][pair % 4u]));
        }
    }
}

void matrix_store(matrix_sums sums, uint first)
{
    for (uint i = 0u; i < MATRIX_M * MATRIX_N / MATRIX_LANES; i++) {
        uint element = i * MATRIX_LANES + MATRIX_LANE;
        tile_products[first + element / MATRIX_M * TILE_PART + element % MATRIX_M] = sums.v[i];
    }
}
