/* y = residual + sum over slots of weights[slot] * (down h[slot] + bias) for one token.
 *
 * A team of LANES invocations makes two neighbouring rows over all chosen experts: its lanes take
 * turns at the pieces of all slots' rows, one after the other, so that every lane has work however
 * short a row is. No atomics, and the same sum every time. Work-groups are folded into x and y. An
 * expert that is not here adds nothing.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_down_sum_args args;
};

shared uint slot_experts[ROUTER_MAX_TOP_K];
shared uvec2 slot_slabs[ROUTER_MAX_TOP_K]; /* 0: not here */
shared float slot_weights[ROUTER_MAX_TOP_K];

void read_slots()
{
    for (uint slot = gl_LocalInvocationIndex; slot < args.top_k; slot += GROUP_SIZE) {
        uint expert = min(args.ids.v[slot], args.n_experts - 1u);
        slot_experts[slot] = expert;
        slot_slabs[slot] = args.slabs.v[expert];
        slot_weights[slot] = args.weights.v[slot];
    }
    barrier();
}

/* The products of one piece of two rows with slot's h. */
vec2 piece_product(uint slot, uint row, uint piece)
{
    words down = words(address_add(slot_slabs[slot], args.down_offset));
    vec4 first[PIECE_FOURS];
    vec4 second[PIECE_FOURS];
    weights_piece(down, args.hidden, args.ffn, min(row, args.hidden - 1u), piece, first);
    weights_piece(down, args.hidden, args.ffn, min(row + 1u, args.hidden - 1u), piece, second);
    vec2 sum = vec2(0.0);
    for (uint four = 0u; four < PIECE_FOURS; four++) {
        vec4 h4 = row_load4(args.h, slot * args.ffn, args.ffn, piece_column(piece, four));
        sum += vec2(dot(first[four], h4), dot(second[four], h4));
    }
    return sum;
}

void store(uint row, float sum)
{
    if (row >= args.hidden) {
        return;
    }
    for (uint slot = 0u; uvec2(args.bias) != uvec2(0u) && slot < args.top_k; slot++) {
        if (slot_slabs[slot] != uvec2(0u)) {
            sum += slot_weights[slot] * args.bias.v[slot_experts[slot] * args.hidden + row];
        }
    }
    args.y.v[row] = args.residual.v[row] + sum;
}

void main()
{
    read_slots();
    uint row = team_row();
    uint pieces = pieces_of(args.ffn);
    vec2 sums[COLUMNS];
    float squares[COLUMNS];
    sums[0] = vec2(0.0);
    squares[0] = 0.0;
    uint slot = 0u;
    uint piece = gl_LocalInvocationIndex % LANES;
    while (true) {
        while (piece >= pieces) { /* the next slot's */
            piece -= pieces;
            slot++;
        }
        if (slot >= args.top_k) {
            break;
        }
        if (slot_slabs[slot] != uvec2(0u)) {
            sums[0] += slot_weights[slot] * piece_product(slot, row, piece);
        }
        piece += LANES;
    }
    team_reduce(sums, squares);
    if (team_writes()) {
        store(row, sums[0].x);
        store(row + 1u, sums[0].y);
    }
}
