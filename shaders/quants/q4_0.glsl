/* q4_0, blocks of 32: plane 0 nibbles[16], plane 1 f16 d; y = d (n - 8). The low nibbles are
 * elements 0..15 of the block, the high ones 16..31. A piece is a block: one 16-byte unit. */
#include "../lib/unpack.glsl"

#define PIECE_FOURS 8u

uint piece_column(uint piece, uint i)
{
    return piece * 32u + i * 4u;
}

float block_scale(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 5;
    uint plane1 = rows * blocks + row * plane_stride16(blocks, 2u);
    return unpack_half(w, plane1 * 4u, block);
}

void weights_piece(words w, uint rows, uint cols, uint row, uint piece, out vec4 fours[PIECE_FOURS])
{
    uvec4 nibbles = words4(uvec2(w)).v[row * (cols >> 5) + piece];
    float d = block_scale(w, rows, cols, row, piece);
    for (uint i = 0u; i < 4u; i++) {
        fours[i] = d * (unpack_nibbles(nibbles[i], 0u) - 8.0);
        fours[i + 4u] = d * (unpack_nibbles(nibbles[i], 4u) - 8.0);
    }
}

void weights_load8(words w, uint rows, uint cols, uint row, uint column, out vec4 low,
                   out vec4 high)
{
    uint block = column >> 5;
    uvec2 nibbles = words2(uvec2(w)).v[(row * (cols >> 5) + block) * 2u + (column >> 3 & 1u)];
    uint shift = (column >> 4 & 1u) * 4u;
    float d = block_scale(w, rows, cols, row, block);
    low = d * (unpack_nibbles(nibbles.x, shift) - 8.0);
    high = d * (unpack_nibbles(nibbles.y, shift) - 8.0);
}
