/* Loops that do one thing as fast as a processor can, for measuring what it can do at most
 * (cpu_peaks.c): read memory, multiply and add floats, multiply and add bytes. One row an
 * instruction set, in a ladder of its own (cpu_peak.c); the loops are written once, for vectors of
 * any width.
 */
#pragma once

#include <stdint.h>

struct cpu_peak {
    uint32_t features; /* all of these are needed (enum cpu_feature) */
    /* Reads bytes (a multiple of CPU_PEAK_READ_BYTES); returns something made of all of them. */
    uint64_t (*read)(const void *memory, uint64_t bytes);
    /* Multiply-adds on registers, `rounds` times round a loop of so many operations (a multiply-add
     * is two); returns something made of all of them. NULL: the level below is as fast. */
    double (*f32)(uint64_t rounds);
    double (*int8)(uint64_t rounds);
    double f32_operations, int8_operations;
};

#define CPU_PEAK_READ_BYTES 1024

/* The highest rung these features allow. */
struct cpu_peak cpu_peak_choose(uint32_t features);

extern const struct cpu_peak cpu_peak_plain;
#if defined(__x86_64__)
extern const struct cpu_peak cpu_peak_avx2;
extern const struct cpu_peak cpu_peak_avx_vnni;
extern const struct cpu_peak cpu_peak_avx512;
extern const struct cpu_peak cpu_peak_avx512_vnni;
#endif

/* Accumulators that a loop works on in turn: more than the latency of an instruction times how many
 * start in a cycle, fewer than there are registers. */
#define CPU_PEAK_SUMS 12
#define CPU_PEAK_READS 8

/* Operations of a round with so many lanes of a vector. */
#define CPU_PEAK_OPERATIONS(lanes) (2.0 * CPU_PEAK_SUMS * (lanes))

/* Defines read_<suffix>, for vectors of `width` bytes. */
#define CPU_PEAK_DEFINE_READ(suffix, width) \
    static uint64_t read_##suffix(const void *memory, uint64_t bytes) \
    { \
        typedef uint64_t vector __attribute__((vector_size(width))); \
        const vector *from = memory; \
        vector sums[CPU_PEAK_READS] = {{0}}; \
        uint64_t sum = 0; \
        for (uint64_t i = 0; i < bytes / (width); i += CPU_PEAK_READS) { \
            _Pragma("GCC unroll 8") for (uint32_t k = 0; k < CPU_PEAK_READS; k++) \
            { \
                sums[k] += from[i + k]; \
            } \
        } \
        for (uint32_t k = 0; k < CPU_PEAK_READS; k++) { \
            for (uint32_t j = 0; j < (width) / 8; j++) { \
                sum += sums[k][j]; \
            } \
        } \
        return sum; \
    }

/* Defines f32_<suffix>. The factors come from memory so that nothing is known of them. */
#define CPU_PEAK_DEFINE_F32(suffix, width) \
    static double f32_##suffix(uint64_t rounds) \
    { \
        typedef float vector __attribute__((vector_size(width))); \
        static volatile const float factor = 0.999f, term = 0.001f; \
        vector sums[CPU_PEAK_SUMS], a = (vector){0} + factor, b = (vector){0} + term; \
        for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) { \
            sums[k] = b; \
        } \
        for (uint64_t i = 0; i < rounds; i++) { \
            _Pragma("GCC unroll 12") for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) \
            { \
                sums[k] = sums[k] * a + b; \
            } \
        } \
        float sum = 0; \
        for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) { \
            sum += sums[k][0]; \
        } \
        return (double)sum; \
    }
