/* f32: one plane of floats. A piece is one 16-byte unit: neighbouring invocations read neighbouring
 * units. The padding at the end of a row is zero. */
#include "../lib/unpack.glsl"

#define PIECE_FOURS 1u

uint piece_column(uint piece, uint i)
{
    return piece * 4u;
}

void weights_piece(words w, uint rows, uint cols, uint row, uint piece, out vec4 fours[PIECE_FOURS])
{
    fours[0] = uintBitsToFloat(load16(w, row * plane_stride16(cols, 4u) + piece));
}

void weights_load8(words w, uint rows, uint cols, uint row, uint column, out vec4 low,
                   out vec4 high)
{
    uint unit = row * plane_stride16(cols, 4u) + (column >> 2);
    low = uintBitsToFloat(load16(w, unit));
    high = vec4(0.0);
    if (column + 4u < cols) {
        high = uintBitsToFloat(load16(w, unit + 1u));
    }
}
