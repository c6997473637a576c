/* The token that follows, as engine/base/sampling.h defines it, bit for bit.
 *
 * One work-group. Nothing is sorted: what survives a filter is told by one number, the distance of
 * its key from the largest key (order_key: integers in the order of the logits), and by the largest
 * id among those that are exactly as far. That distance is found digit by digit, with a histogram
 * of counts or of weights, a bin an invocation; the draw finds an id in the same way. Sums are
 * integers of 64 bits in two words, so the order of atomic additions does not matter.
 *
 * With a small top_k the logits are read twice and no more: the k-th of the largest logits of every
 * invocation is a bound that k logits reach, and the few that do are gathered in shared memory.
 * GROUP_SIZE is a power of two, at least 8.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/order.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 256u;
layout(local_size_x_id = 0, local_size_x = 256) in;

#define KEY_MINUS_INFINITY 0x007FFFFFu
#define KEY_INFINITY 0xFF800000u
#define LARGEST_WEIGHT 0x80000000u
#define EVERYTHING 0xFFFFFFFFu
#define LOWEST_EXPONENT (-22.0)

/* Logits that may be gathered. */
#define LIST_SIZE 1024u

/* What is added up of every logit that survives, and by what it is looked for. */
#define MASS_COUNT 0u
#define MASS_WEIGHT 1u /* at temperature 1 */
#define MASS_DRAW 2u   /* at the temperature, if min-p lets it pass */
#define BY_DISTANCE 0u
#define BY_ID 1u

layout(push_constant) uniform push
{
    sample_args args;
};

shared uint bins_low[GROUP_SIZE];
shared uint bins_high[GROUP_SIZE];
shared uint list_ids[LIST_SIZE];
shared uint list_keys[LIST_SIZE];
shared uint n_listed;
shared uint bound;
shared uint found_bin;
shared uvec2 found_before; /* the mass below that bin */
shared uvec2 found_mass;   /* the mass in it */

uint n_items; /* ids, or entries of the list */
bool listed;
uint largest; /* key */
/* Survivors are nearer than cut_distance, or as far and their id is at most cut_id. */
uint cut_distance;
uint cut_id;

uvec2 add64(uvec2 a, uvec2 b)
{
    uint carry;
    uint low = uaddCarry(a.x, b.x, carry);
    return uvec2(low, a.y + b.y + carry);
}

uvec2 subtract64(uvec2 a, uvec2 b)
{
    uint borrow;
    uint low = usubBorrow(a.x, b.x, borrow);
    return uvec2(low, a.y - b.y - borrow);
}

bool less64(uvec2 a, uvec2 b)
{
    return a.y < b.y || (a.y == b.y && a.x < b.x);
}

/* total * part / 2^32, rounded down or up. */
uvec2 part_of(uvec2 total, uint part, bool up)
{
    uint low_high, low_low, high_high, high_low;
    umulExtended(total.x, part, low_high, low_low);
    umulExtended(total.y, part, high_high, high_low);
    uvec2 result = add64(uvec2(high_low, high_high), uvec2(low_high, 0u));
    return up && low_low != 0u ? add64(result, uvec2(1u, 0u)) : result;
}

uint random_word(uint position)
{
    uvec4 c = uvec4(position, 0u, 0u, 0u);
    uvec2 key = uvec2(args.state.seed[0], args.state.seed[1]);
    for (uint i = 0u; i < 10u; i++) {
        uint a_high, a_low, b_high, b_low;
        umulExtended(0xD2511F53u, c.x, a_high, a_low);
        umulExtended(0xCD9E8D57u, c.z, b_high, b_low);
        c = uvec4(b_high ^ c.y ^ key.x, b_low, a_high ^ c.w ^ key.y, a_low);
        key += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return c.x;
}

/* Of a logit; NaN is minus infinity. */
uint key_at(uint id)
{
    float logit = args.logits.v[id];
    if (args.state.repeat_last > 0u && args.occurrences.v[id] > 0u && !is_nan(logit)) {
        logit *= logit > 0.0 ? args.state.inverse_penalty : args.state.penalty;
    }
    return max(order_key(logit), KEY_MINUS_INFINITY);
}

float key_value(uint key)
{
    return uintBitsToFloat((key & 0x80000000u) != 0u ? key & 0x7FFFFFFFu : ~key);
}

/* Every operation rounded by itself, as in C. */
uint weight_of(uint distance, float scale)
{
    uint key = largest - distance;
    if (distance == 0u) {
        return LARGEST_WEIGHT;
    }
    if (largest == KEY_INFINITY || key == KEY_MINUS_INFINITY) {
        return 0u;
    }
    precise float difference = key_value(key) - key_value(largest);
    precise float x = difference * scale;
    if (!(x > LOWEST_EXPONENT)) {
        return 0u;
    }
    precise float k = floor(x * 1.44269502 + 0.5);
    precise float r = x - k * 0.693359375;
    r = r + k * 2.12194442e-4;
    precise float sum = r * 1.38888892e-3 + 8.33333377e-3;
    sum = sum * r + 4.16666679e-2;
    sum = sum * r + 1.66666672e-1;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    precise float weight = sum * uintBitsToFloat(uint(int(k) + 31 + 127) << 23);
    return uint(weight);
}

uint item_id(uint i)
{
    return listed ? list_ids[i] : i;
}

uint item_distance(uint i)
{
    return largest - (listed ? list_keys[i] : key_at(i));
}

uint mass_of(uint mass, uint distance, uint id)
{
    if (distance > cut_distance || (distance == cut_distance && id > cut_id)) {
        return 0u;
    }
    if (mass == MASS_COUNT) {
        return 1u;
    }
    uint weight = weight_of(distance, 1.0);
    if (mass == MASS_WEIGHT) {
        return weight;
    }
    return weight < args.state.min_weight ? 0u
                                          : weight_of(distance, args.state.inverse_temperature);
}

/* The histogram of one digit: of numbers that agree with `base` above bit `upper`. With
 * `only_distance` other than EVERYTHING, only of what is as far. */
void fill_bins(uint by, uint mass, uint only_distance, uint base, uint upper, uint shift)
{
    uint me = gl_LocalInvocationIndex;
    barrier();
    bins_low[me] = 0u;
    bins_high[me] = 0u;
    barrier();
    for (uint i = me; i < n_items; i += GROUP_SIZE) {
        uint id = item_id(i);
        uint distance = item_distance(i);
        uint number = by == BY_ID ? id : distance;
        bool outside = upper < 32u && (number ^ base) >> upper != 0u;
        if (outside || (only_distance != EVERYTHING && distance != only_distance)) {
            continue;
        }
        uint added = mass_of(mass, distance, id);
        if (added > 0u) {
            uint bin = (number - base) >> shift;
            uint before = atomicAdd(bins_low[bin], added);
            if (before + added < before) {
                atomicAdd(bins_high[bin], 1u);
            }
        }
    }
    barrier();
}

/* Bins become sums of all bins up to them; returns this invocation's. */
uvec2 sum_bins()
{
    uint me = gl_LocalInvocationIndex;
    uvec2 sum = uvec2(bins_low[me], bins_high[me]);
    for (uint reach = 1u; reach < GROUP_SIZE; reach *= 2u) {
        uvec2 other = me >= reach ? uvec2(bins_low[me - reach], bins_high[me - reach]) : uvec2(0u);
        barrier();
        sum = add64(sum, other);
        bins_low[me] = sum.x;
        bins_high[me] = sum.y;
        barrier();
    }
    return sum;
}

/* The smallest number (a distance, or an id) such that the mass of all up to it is `target` or
 * more; `target` becomes what the mass of the number itself, in found_mass, has to contribute.
 * of_total: the target is that part of all mass, as top-p (BY_DISTANCE) or the draw (BY_ID) wants
 * it. Numbers are below 2^bits. */
uint find(uint by, uint mass, uint only_distance, uint bits, bool of_total, uint part,
          inout uvec2 target)
{
    uint me = gl_LocalInvocationIndex;
    uint digit_bits = uint(findMSB(GROUP_SIZE));
    uint base = 0u;
    for (uint upper = bits; upper > 0u;) {
        uint shift = upper > digit_bits ? upper - digit_bits : 0u;
        fill_bins(by, mass, only_distance, base, upper, shift);
        uvec2 own = uvec2(bins_low[me], bins_high[me]);
        barrier();
        uvec2 sum = sum_bins();
        if (of_total && upper == bits) {
            uvec2 total = uvec2(bins_low[GROUP_SIZE - 1u], bins_high[GROUP_SIZE - 1u]);
            target = part_of(total, part, by == BY_DISTANCE);
            if (by == BY_ID || target == uvec2(0u)) {
                target = add64(target, uvec2(1u, 0u));
            }
        }
        uvec2 before = subtract64(sum, own);
        if (less64(before, target) && !less64(sum, target)) {
            found_bin = me;
            found_before = before;
            found_mass = own;
        }
        barrier();
        base += found_bin << shift;
        target = subtract64(target, found_before);
        upper = shift;
    }
    return base;
}

/* Lets only a beginning of the order survive. */
void cut(uint mass, bool of_total, uint part, uvec2 target)
{
    uint distance = find(BY_DISTANCE, mass, EVERYTHING, 32u, of_total, part, target);
    uint id = distance == cut_distance ? cut_id : EVERYTHING;
    if (less64(target, found_mass)) { /* not all that are as far */
        id = find(BY_ID, mass, distance, 24u, false, 0u, target);
    }
    barrier();
    cut_distance = distance;
    cut_id = id;
}

/* Largest key of this invocation's logits, and its lowest id. */
uvec2 find_own_best(uint n)
{
    uvec2 best = uvec2(0u);
    for (uint id = gl_LocalInvocationIndex; id < n; id += GROUP_SIZE) {
        uint key = key_at(id);
        best = key > best.x ? uvec2(key, id) : best;
    }
    return best;
}

/* Sets `largest`; returns its lowest id. */
uint find_best(uvec2 best)
{
    uint me = gl_LocalInvocationIndex;
    bins_low[me] = best.x;
    bins_high[me] = best.y;
    barrier();
    for (uint live = GROUP_SIZE / 2u; live > 0u; live /= 2u) {
        if (me < live) {
            uvec2 mine = uvec2(bins_low[me], bins_high[me]);
            uvec2 other = uvec2(bins_low[me + live], bins_high[me + live]);
            if (other.x > mine.x || (other.x == mine.x && other.y < mine.y)) {
                bins_low[me] = other.x;
                bins_high[me] = other.y;
            }
        }
        barrier();
    }
    largest = bins_low[0];
    uint id = bins_high[0];
    barrier();
    return id;
}

/* Gathers the logits that top-k can let pass, if there is room for them. */
void gather(uint n, uint own_best)
{
    uint me = gl_LocalInvocationIndex;
    uint k = args.state.top_k;
    listed = false;
    if (n > LIST_SIZE && (k == 0u || k > GROUP_SIZE)) {
        return;
    }
    bins_low[me] = own_best;
    if (me == 0u) {
        n_listed = 0u;
        bound = 0u;
    }
    barrier();
    if (n > LIST_SIZE) {
        uint rank = 0u;
        for (uint i = 0u; i < GROUP_SIZE; i++) {
            uint other = bins_low[i];
            rank += other > own_best || (other == own_best && i < me) ? 1u : 0u;
        }
        if (rank == k - 1u) {
            bound = own_best;
        }
    }
    barrier();
    for (uint id = me; id < n; id += GROUP_SIZE) {
        uint key = key_at(id);
        if (key >= bound) {
            uint place = atomicAdd(n_listed, 1u);
            if (place < LIST_SIZE) {
                list_ids[place] = id;
                list_keys[place] = key;
            }
        }
    }
    barrier();
    listed = n_listed <= LIST_SIZE;
    n_items = listed ? n_listed : n;
}

uint draw(uint n, uint own_best, uint position)
{
    cut_distance = EVERYTHING;
    cut_id = EVERYTHING;
    n_items = n;
    gather(n, own_best);
    uint k = args.state.top_k;
    if (k > 0u && k < n) {
        cut(MASS_COUNT, false, 0u, uvec2(k, 0u));
    }
    if (args.state.top_p != EVERYTHING) {
        cut(MASS_WEIGHT, true, args.state.top_p, uvec2(0u));
    }
    uvec2 target = uvec2(0u);
    return find(BY_ID, MASS_DRAW, EVERYTHING, 24u, true, random_word(position), target);
}

void accept(uint id)
{
    uint room = args.state.repeat_last;
    if (room == 0u) {
        return;
    }
    uint oldest = args.state.oldest_recent;
    if (args.state.n_recent == room) {
        args.occurrences.v[args.recent.v[oldest]]--;
    } else {
        args.state.n_recent++;
    }
    args.recent.v[oldest] = id;
    args.state.oldest_recent = (oldest + 1u) % room;
    args.occurrences.v[id]++;
}

void main()
{
    uint n = args.state.n_valid;
    n = n == 0u || n > args.vocabulary ? args.vocabulary : n;
    uint position = args.step.position + args.step.n_tokens;
    uvec2 own_best = find_own_best(n);
    uint id = find_best(own_best);
    if (args.state.inverse_temperature > 0.0) {
        id = draw(n, own_best.x, position);
    }
    barrier();
    if (gl_LocalInvocationIndex == 0u) {
        accept(id);
        args.chosen.v[position % SAMPLE_RESULTS] = id;
        args.step.n_tokens = 1u;
        args.step.position = position;
        args.step.tokens[0] = id;
    }
}
