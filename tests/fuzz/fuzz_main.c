/* One target as a libFuzzer program: FUZZ_TARGET names it. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t room);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    atexit(fuzz_file_clean);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    FUZZ_TARGET.run(data, bytes);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t room, unsigned int seed)
{
    struct fuzz_random random = {seed};
    return FUZZ_TARGET.mutate(data, bytes, room, &random, LLVMFuzzerMutate);
}
