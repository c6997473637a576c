/* Reads of the key and value caches for CPUs that play GPUs, by -DDTYPE_F32, -DDTYPE_F16 or
 * -DDTYPE_Q8_0: eight lanes have a head of a row, a four each of every chunk, in loads of 64 bits.
 *
 * cache_lane_four says which four of the head a lane has of chunk i; it may be past the last.
 * cache_load_chunks loads those of CACHE_CHUNKS chunks from i on, of the head of `dim` elements that
 * begins at element `first` of the cache; past the last four that one comes again. dim is a multiple of
 * 4, in q8_0 of 64. There the lanes load scales for each other, for ROWS rows from `row` on (past `last`
 * that one), and HEAD_DIM is dim. Wants ROWS and lib/attention_software.glsl.
 */
#ifdef DTYPE_Q8_0

#define CACHE_CHUNKS 2u
#define HEAD_SCALES (HEAD_DIM / 64u) /* words of two */
const uint SCALE_LOADS = (ROWS * HEAD_SCALES + LANES - 1u) / LANES;

uint cache_lane_four(uint i, uint lane)
{
    return i / 2u * 2u * LANES + lane * 2u + i % 2u;
}

void cache_load_scales(words cache, uint capacity, uint kv_heads, uint kv_head, uint row, uint last,
                       out uint scales[SCALE_LOADS])
{
    uint dim = kv_heads * HEAD_DIM;
    uint stride = plane_stride16(dim >> 5, 2u) << 2;
    [[unroll]] for (uint i = 0u; i < SCALE_LOADS; i++) {
        uint word = min(i * LANES + attention_lane(), ROWS * HEAD_SCALES - 1u);
        uint of_row = min(row + word / HEAD_SCALES, last);
        scales[i] = cache.v[(capacity * dim >> 2) + of_row * stride + kv_head * HEAD_SCALES +
                            word % HEAD_SCALES];
    }
}

void cache_load_chunks(words cache, uint first, uint dim, uint i, uint r,
                       uint scales[SCALE_LOADS], out vec4 fours[2])
{
    uvec2 codes = load8(cache, first / 8u + i / 2u * LANES + attention_lane());
    uint word = r * HEAD_SCALES + i / 2u;
    vec2 both = unpackHalf2x16(subgroupShuffle(scales[word / LANES], word % LANES));
    float d = attention_lane() < LANES / 2u ? both.x : both.y;
    fours[0] = d * unpack_s8x4(codes.x);
    fours[1] = d * unpack_s8x4(codes.y);
}

#else

#define CACHE_CHUNKS 1u
const uint SCALE_LOADS = 1u;

uint cache_lane_four(uint i, uint lane)
{
    return i * LANES + lane;
}

void cache_load_scales(words cache, uint capacity, uint kv_heads, uint kv_head, uint row, uint last,
                       out uint scales[SCALE_LOADS])
{
    scales[0] = 0u;
}

void cache_load_chunks(words cache, uint first, uint dim, uint i, uint r,
                       uint scales[SCALE_LOADS], out vec4 fours[2])
{
    uint four = first / 4u + min(cache_lane_four(i, attention_lane()), dim / 4u - 1u);
#ifdef DTYPE_F16
    uvec2 halves = load8(cache, four);
    fours[0] = vec4(unpackHalf2x16(halves.x), unpackHalf2x16(halves.y));
#else
    fours[0] = uintBitsToFloat(load16(cache, four));
#endif
    fours[1] = vec4(0.0);
}

#endif
