/* Sum and maximum of one value of every invocation of the work-group.
 *
 * A tree through shared memory, for any work-group size and any subgroup size. Every invocation
 * must call, and every one gets the result. Wants GROUP_SIZE, the number of invocations (a
 * constant).
 */
shared float reduce_values[GROUP_SIZE];

/* The tree halves the live part; an odd middle element waits for the next level. */
float reduce_sum(float value)
{
    uint i = gl_LocalInvocationIndex;
    barrier(); /* an earlier result may still be being read */
    reduce_values[i] = value;
    barrier();
    for (uint live = GROUP_SIZE; live > 1u;) {
        uint upper = (live + 1u) / 2u;
        if (i + upper < live) {
            reduce_values[i] += reduce_values[i + upper];
        }
        live = upper;
        barrier();
    }
    return reduce_values[0];
}

float reduce_max(float value)
{
    uint i = gl_LocalInvocationIndex;
    barrier();
    reduce_values[i] = value;
    barrier();
    for (uint live = GROUP_SIZE; live > 1u;) {
        uint upper = (live + 1u) / 2u;
        if (i + upper < live) {
            reduce_values[i] = max(reduce_values[i], reduce_values[i + upper]);
        }
        live = upper;
        barrier();
    }
    return reduce_values[0];
}
