#include "format/roles.h"

#include <stddef.h>

const char *role_name(uint32_t role)
{
    switch (role) {
#define X(NAME, number, name) \
    case ROLE_##NAME: \
        return name;
        TENSOR_ROLES(X)
#undef X
    default:
        return NULL;
    }
}
