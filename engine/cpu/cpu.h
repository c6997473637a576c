/* The CPU back end (engine/op/backend.h). */
#pragma once

#include <stdint.h>

#include "engine/op/backend.h"

/* n_threads as thread_pool_create takes it. Which SIMD the dot products use is decided here, from
 * cpu_features(), and holds until destroy. */
struct backend *cpu_backend_create(uint32_t n_threads, struct error *err);
