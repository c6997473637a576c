/* The list of all architectures. X(variable of arch_<name>.c) */
#pragma once

#include "engine/model/arch.h"

#define ARCHS(X) \
    X(arch_qwen3moe) \
    X(arch_qwen3) \
    X(arch_llama) \
    X(arch_mixtral) \
    X(arch_qwen2moe) \
    X(arch_qwen2) \
    X(arch_olmoe) \
    X(arch_gptoss) \
    X(arch_deepseek2) \
    X(arch_deepseek3)

#define X(variable) extern const struct arch variable;
ARCHS(X)
#undef X
