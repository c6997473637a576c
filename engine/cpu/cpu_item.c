#include "engine/cpu/cpu_item.h"

#include "engine/cpu/cpu_rows.h"

/* One or a few vectors: about a microsecond of reading. */
#define ITEM_BYTES 32768
#define ITEM_ROWS_MIN 4
#define ITEM_ROWS_MAX 64
/* Many: whole tiles, and products of all vectors of a pass stay in the L2 cache. */
#define FEW_VECTORS 4
#define TILE_ROWS 64

/* Multiplying with a vector takes as long as reading this part of as many bytes as columns. */
#define COLUMNS_PER_BYTE 8

#define PREFETCHED_BYTES 256
#define CACHE_LINE 64

uint64_t cpu_item_rows(uint64_t row_bytes, uint64_t n)
{
    if (n >= FEW_VECTORS) {
        return TILE_ROWS;
    }
    uint64_t rows = ITEM_BYTES / row_bytes / 4 * 4;
    return rows < ITEM_ROWS_MIN ? ITEM_ROWS_MIN : rows > ITEM_ROWS_MAX ? ITEM_ROWS_MAX : rows;
}

uint64_t cpu_item_cost(const struct cpu_matrix *matrix, uint64_t rows, uint64_t n)
{
    return rows * (cpu_matrix_row_bytes(matrix) + n * matrix->cols / COLUMNS_PER_BYTE);
}

void cpu_item_multiply(const struct cpu_level *level, const struct cpu_matrix *matrix,
                       uint64_t first, uint64_t end, const uint8_t *const *x, uint64_t n,
                       const struct cpu_item_memory *memory)
{
    float *y[CPU_ITEM_VECTORS];
    assert(n <= CPU_ITEM_VECTORS && end - first <= CPU_ITEM_ROWS);
    for (uint64_t i = 0; i < n; i++) {
        y[i] = memory->products + i * (end - first);
    }
    cpu_rows_multiply(level, matrix, first, end, x, y, (uint32_t)n, memory->rows);
}

void cpu_item_prefetch(const struct cpu_matrix *matrix, uint64_t row)
{
    for (uint32_t p = 0; p < matrix->type->n_planes; p++) {
        const uint8_t *bytes = matrix->planes[p] + row * matrix->strides[p];
        for (uint64_t i = 0; i < PREFETCHED_BYTES; i += CACHE_LINE) {
            __builtin_prefetch(bytes + i, 0, 2);
        }
    }
}

uint64_t cpu_item_rows_scratch(const struct cpu_level *level, const struct op *op)
{
    switch (op->kind) {
    case OP_matmul:
        return cpu_rows_scratch(level, op->dtype, op->args.matmul.cols);
    case OP_matmul_router:
        return cpu_rows_scratch(level, op->dtype, op->args.matmul_router.cols);
    case OP_head_matmul:
        return cpu_rows_scratch(level, op->dtype, op->args.head_matmul.cols);
    case OP_expert_gate_up:
        return cpu_rows_scratch(level, op->dtype, op->args.expert_gate_up.hidden);
    case OP_expert_down:
        return cpu_rows_scratch(level, op->dtype, op->args.expert_down.ffn);
    case OP_expert_down_sum:
        return cpu_rows_scratch(level, op->dtype, op->args.expert_down_sum.ffn);
    default:
        return 0;
    }
}
