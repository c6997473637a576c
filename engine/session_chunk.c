/* How many tokens of a prompt are computed at once where nobody says.
 *
 * More tokens at once bring more of them to each expert, so that its weights are read for more; but
 * activations grow with them. A back end says how many it gains from; they are halved while their
 * activations would take much of what is free, down to a number that pays everywhere, and further
 * only where it is this or nothing.
 */
#include "engine/session_internal.h"

#define SMALLEST 16
/* Activations may take one part in so many of what is free beside the context. */
#define SHARE 8

/* Activations alone; 0: unknown, for lack of memory. */
static uint64_t activation_bytes(const struct model *model, struct forward_options options,
                                 uint32_t chunk, uint64_t *context_bytes)
{
    struct forward forward;
    options.chunk = chunk;
    if (!forward_init(&forward, model, &options, NULL)) {
        return 0;
    }
    *context_bytes = forward_state_bytes(&forward);
    uint64_t bytes = forward_bytes(&forward) - *context_bytes;
    forward_free(&forward);
    return bytes;
}

uint32_t session_chunk_for(const struct model *model, const struct forward_options *options,
                           uint32_t most, uint64_t available)
{
    uint32_t chunk = most > SESSION_USUAL_CHUNK ? most : SESSION_USUAL_CHUNK;
    while (chunk > SMALLEST) {
        uint64_t context = 0, bytes = activation_bytes(model, *options, chunk, &context);
        uint64_t left = available > context ? available - context : 0;
        if (bytes <= (chunk > SESSION_USUAL_CHUNK ? left / SHARE : left)) {
            break;
        }
        chunk /= 2;
    }
    return chunk < options->context ? chunk : options->context;
}
