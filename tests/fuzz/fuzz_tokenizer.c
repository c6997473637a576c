/* tokenizer.json: packed into the section of a .moxie file, and used. */
#include <assert.h>
#include <stdlib.h>

#include "engine/text/tokenizer_pack.h"
#include "tests/fuzz/fuzz.h"

static bool run(const uint8_t *data, size_t bytes)
{
    void *section;
    uint64_t section_bytes;
    struct error err = {""};
    fuzz_file_write("words", "tokenizer.json", data, bytes);
    if (!tokenizer_pack(fuzz_file_folder("words"), &section, &section_bytes, &err)) {
        assert(err.text[0]);
        return false;
    }
    /* What is packed here must be a section that can be opened. */
    bool opened = fuzz_tokenizer_use(section, section_bytes);
    free(section);
    return opened;
}

const struct fuzz_target fuzz_tokenizer = {"tokenizer", run, fuzz_json_mutate_some};
