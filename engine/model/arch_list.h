/* The list of all architectures. X(variable of arch_<name>.c) */
#pragma once

#include "engine/model/arch.h"

#define ARCHS(X) \
    X(arch_qwen3moe) \
    X(arch_qwen3) \
    X(arch_llama)

#define X(variable) extern const struct arch variable;
ARCHS(X)
#undef X
