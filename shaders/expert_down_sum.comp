/* y = residual + sum over slots of weights[slot] * (down h[slot] + bias) for one token.
 *
 * The chosen experts that are here make one matrix, their down matrices side by side, and one vector
 * of their h times their weights: so every lane of a team has work, however short a row of one
 * expert is (lib/matvec_one.glsl). No atomics, and the same sum every time. Work-groups are folded
 * into x and y.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec_one.glsl"

layout(push_constant) uniform push
{
    expert_down_sum_args args;
};

/* Of the slots whose expert is here, the others left out. */
shared uint slots_here; /* a bit a slot */
shared uint slot_experts[ROUTER_MAX_TOP_K];
shared uvec2 slot_matrices[ROUTER_MAX_TOP_K];
shared float slot_weights[ROUTER_MAX_TOP_K];
shared uint slot_rows[ROUTER_MAX_TOP_K]; /* where h begins */

uint live_slots()
{
    return uint(bitCount(slots_here));
}

void read_slots()
{
    uint slot = gl_LocalInvocationIndex;
    uint expert = 0u;
    float weight = 0.0;
    uvec2 slab = uvec2(0u);
    if (slot < args.top_k) { /* there are no more slots than invocations */
        expert = min(args.ids.v[slot], args.n_experts - 1u);
        weight = args.weights.v[slot];
        slab = args.slabs.v[expert];
    }
    if (slot == 0u) {
        slots_here = 0u;
    }
    barrier();
    if (slab != uvec2(0u)) {
        atomicOr(slots_here, 1u << slot);
    }
    barrier();
    if (slab != uvec2(0u)) {
        uint place = uint(bitCount(slots_here & (1u << slot) - 1u));
        slot_experts[place] = expert;
        slot_matrices[place] = address_add(slab, args.down_offset);
        slot_weights[place] = weight;
        slot_rows[place] = slot * args.ffn;
    }
    barrier();
}

/* number / divisor, where these are less than 2^20: half a unit is more than the product's error. */
uint divide(uint number, uint divisor)
{
    return uint((float(number) + 0.5) / float(divisor));
}

one_piece_spot one_find_piece(uint piece)
{
    uint pieces = one_pieces_of(args.ffn);
    uint found = min(piece, live_slots() * pieces - 1u);
    uint slot = divide(found, pieces);
    return one_piece_spot(slot_matrices[slot], found - slot * pieces);
}

void one_load_piece(one_piece_spot spot, uint row, out one_piece weights)
{
    one_weights_load(words(spot.matrix), args.hidden, args.ffn, min(row, args.hidden - 1u),
                     spot.piece, weights);
}

/* Fours of h of a slot, those included that fill its last piece; and which of them this is. */
uint slot_fours()
{
    return one_pieces_of(args.ffn) * ONE_PIECE_FOURS;
}
uint find_slot(uint four, out uint in_slot)
{
    uint slot = min(divide(four, slot_fours()), live_slots() - 1u);
    in_slot = four - slot * slot_fours();
    return slot;
}

one_four_spot one_find_four(uint four)
{
    uint in_slot;
    uint slot = find_slot(four, in_slot);
    uint at = min(in_slot, max(args.ffn / 4u, 1u) - 1u);
    return one_four_spot(slot_rows[slot] / 4u + at, slot_weights[slot], in_slot * 4u >= args.ffn);
}

vec4 one_load_four(one_four_spot spot)
{
    return f32x4s(uvec2(args.h)).v[spot.at];
}

bool one_odd()
{
    return (args.ffn & 3u) != 0u;
}

vec4 one_load_odd_four(uint four)
{
    uint in_slot;
    uint slot = find_slot(four, in_slot);
    return slot_weights[slot] * row_load4(args.h, slot_rows[slot], args.ffn, in_slot * 4u);
}

/* h has no norm. */
vec4 one_load_norm(one_four_spot spot)
{
    return vec4(1.0);
}
vec4 one_load_odd_norm(uint four)
{
    return vec4(1.0);
}

void store(uint row, float sum)
{
    if (row >= args.hidden) {
        return;
    }
    for (uint slot = 0u; uvec2(args.bias) != uvec2(0u) && slot < live_slots(); slot++) {
        sum += slot_weights[slot] * args.bias.v[slot_experts[slot] * args.hidden + row];
    }
    args.y.v[row] = args.residual.v[row] + sum;
}

void main()
{
    read_slots();
    uint row = team_row();
    vec2 sums = vec2(0.0);
    uint live = live_slots();
    if (live > 0u) {
        sums = one_product(row, live * one_pieces_of(args.ffn), args.ffn, 0.0);
    }
    if (team_writes()) {
        store(row, sums.x);
        store(row + 1u, sums.y);
    }
}
