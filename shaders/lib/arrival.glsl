/* Which of several work-groups is done last: they count themselves in memory. What each has written
 * to `coherent` memory before, the last one may read afterwards; the counter is then its to clear.
 */
shared uint shared_arrived[4]; /* one would take alignment from what lies behind */

/* True in all invocations of the last of `groups` that count at counters[counter]. Every invocation
 * must call. */
bool arrives_last(parts_words counters, uint counter, uint groups)
{
    memoryBarrierBuffer();
    barrier();
    if (gl_LocalInvocationIndex == 0u) {
        memoryBarrierBuffer();
        shared_arrived[0] = atomicAdd(counters.v[counter], 1u);
        memoryBarrierBuffer();
    }
    barrier();
    memoryBarrierBuffer();
    return shared_arrived[0] + 1u == groups;
}
