/* The table op -> functions, made from OPS: an op whose C version is missing does not link. */
#include "engine/cpu/cpu_internal.h"

const struct cpu_op cpu_ops[OP_COUNT] = {
#define X(name, ...) [OP_##name] = {cpu_##name, cpu_##name##_scratch},
    OPS(X)
#undef X
};
