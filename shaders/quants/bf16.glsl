/* bf16: one plane of bfloat16. A piece is one 16-byte unit of eight: neighbouring invocations read
 * neighbouring units. The padding at the end of a row is zero. */
#include "../lib/unpack.glsl"

#define PIECE_FOURS 2u

uint piece_column(uint piece, uint i)
{
    return piece * 8u + i * 4u;
}

void weights_load8(words w, uint rows, uint cols, uint row, uint column, out vec4 low,
                   out vec4 high)
{
    uvec4 unit = load16(w, row * plane_stride16(cols, 2u) + (column >> 3));
    low = vec4(unpack_bf16x2(unit.x), unpack_bf16x2(unit.y));
    high = vec4(unpack_bf16x2(unit.z), unpack_bf16x2(unit.w));
}

void weights_piece(words w, uint rows, uint cols, uint row, uint piece, out vec4 fours[PIECE_FOURS])
{
    weights_load8(w, rows, cols, row, piece * 8u, fours[0], fours[1]);
}
