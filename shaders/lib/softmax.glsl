/* The running softmax of QUERIES queries over a long row of scores that comes in blocks of
 * GROUP_SIZE, one score of each query an invocation (Milakov & Gimelshein 2018): when a block
 * raises a query's maximum, what was summed so far is scaled down. Wants GROUP_SIZE and QUERIES.
 * Shared memory: 8 QUERIES GROUP_SIZE bytes.
 */
#define LOWEST (-3.402823466e38)

shared float softmax_weights[QUERIES * GROUP_SIZE];
shared float softmax_reduced[QUERIES * GROUP_SIZE];

/* softmax_reduced[i * GROUP_SIZE] = maximum or sum of query i's values in it. */
void softmax_reduce(bool maximum)
{
    uint me = gl_LocalInvocationIndex;
    barrier();
    for (uint live = GROUP_SIZE; live > 1u;) {
        uint upper = (live + 1u) / 2u;
        if (me + upper < live) {
            for (uint i = 0u; i < QUERIES; i++) {
                uint at = i * GROUP_SIZE + me;
                float a = softmax_reduced[at];
                float b = softmax_reduced[at + upper];
                softmax_reduced[at] = maximum ? max(a, b) : a + b;
            }
        }
        live = upper;
        barrier();
    }
}

/* Takes this invocation's scores of a block, LOWEST where a query may not see the row. Then
 * softmax_weights[i * GROUP_SIZE + j] is the weight of row j of the block for query i, and what
 * query i has summed is to be multiplied by shrinks[i]. `maxima` are the same in all invocations,
 * `sums` each invocation's share. Every invocation must call. */
void softmax_block(float scores[QUERIES], inout float maxima[QUERIES], inout float sums[QUERIES],
                   out float shrinks[QUERIES])
{
    uint me = gl_LocalInvocationIndex;
    for (uint i = 0u; i < QUERIES; i++) {
        softmax_reduced[i * GROUP_SIZE + me] = scores[i];
    }
    softmax_reduce(true);
    for (uint i = 0u; i < QUERIES; i++) {
        float maximum = max(maxima[i], softmax_reduced[i * GROUP_SIZE]);
        float weight = exp(scores[i] - maximum);
        shrinks[i] = exp(maxima[i] - maximum);
        softmax_weights[i * GROUP_SIZE + me] = weight;
        sums[i] = sums[i] * shrinks[i] + weight;
        maxima[i] = maximum;
    }
    barrier();
}

/* The sums of all invocations, for softmax_total. Every invocation must call. */
void softmax_finish(float sums[QUERIES])
{
    for (uint i = 0u; i < QUERIES; i++) {
        softmax_reduced[i * GROUP_SIZE + gl_LocalInvocationIndex] = sums[i];
    }
    softmax_reduce(false);
}
float softmax_total(uint i)
{
    return softmax_reduced[i * GROUP_SIZE];
}
