#include "engine/model/type_choice.h"

#include <stddef.h>

void type_choice_add(struct type_choice *choice, const struct safetensors_tensor *tensor)
{
    choice->any_f32 = choice->any_f32 || tensor->dtype == SAFETENSORS_F32;
    choice->any_f16 = choice->any_f16 || tensor->dtype == SAFETENSORS_F16;
    choice->any_bf16 = choice->any_bf16 || tensor->dtype == SAFETENSORS_BF16;
}

static bool whole_blocks(enum dtype type, uint64_t cols)
{
    return cols % dtype_info(type)->block_elements == 0;
}

enum dtype type_choice_make(const struct type_choice *choice, enum dtype asked,
                            enum type_choice_reason *reason)
{
    *reason = TYPE_AS_RULED;
    if (choice->keep_f32) {
        return DTYPE_F32;
    }
    if (asked == DTYPE_F16 && choice->exceeds_f16) {
        *reason = TYPE_FOR_RANGE;
        return choice->any_f32 || choice->any_f16 ? DTYPE_F32 : DTYPE_BF16;
    }
    enum dtype wanted = asked;
    if (choice->is_head && (asked == DTYPE_Q4_0 || asked == DTYPE_Q4_K)) {
        wanted = DTYPE_Q6_K;
    }
    if (whole_blocks(wanted, choice->cols)) {
        return wanted;
    }
    *reason = TYPE_FOR_COLUMNS;
    if (whole_blocks(DTYPE_Q8_0, choice->cols)) {
        return DTYPE_Q8_0;
    }
    return choice->any_f32 || choice->any_bf16 ? DTYPE_BF16 : DTYPE_F16;
}
