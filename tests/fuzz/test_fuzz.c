/* Every fuzz target over its seeds, over every input that once failed, and over a fixed number of
 * changes of each: under the sanitizers, too. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/fuzz/fuzz.h"

#define CHANGES 200

static void run_changed(const struct fuzz_target *target, const char *seed, size_t bytes)
{
    size_t room = bytes + 4096;
    uint8_t *data = malloc(room);
    struct fuzz_random random = {bytes};
    fuzz_change_start(bytes);
    for (int i = 0; i < CHANGES; i++) {
        memcpy(data, seed, bytes);
        size_t changed = target->mutate(data, bytes, room, &random, fuzz_change_bytes);
        cr_assert_leq(changed, room);
        /* Exactly as long as it is, so that a sanitizer sees what reads on. */
        uint8_t *exact = malloc(changed ? changed : 1);
        memcpy(exact, data, changed);
        target->run(exact, changed);
        free(exact);
    }
    free(data);
}

/* With the seeds of the target of this name. */
static void replay(const struct fuzz_target *target, const char *seeds)
{
    char folder[64];
    snprintf(folder, sizeof(folder), "tests/fuzz/%s", seeds);
    DIR *entries = opendir(check_source_path(folder));
    uint32_t n = 0;
    cr_assert_not_null(entries, "no folder %s", folder);
    for (const struct dirent *entry; (entry = readdir(entries));) {
        size_t bytes;
        if (entry->d_name[0] == '.') {
            continue;
        }
        char *data = check_read_file(check_path(check_source_path(folder), entry->d_name), &bytes);
        cr_assert_not_null(data);
        bool accepted = target->run((const uint8_t *)data, bytes);
        /* No model, and one in two files. */
        bool no_model = target == &fuzz_eval && (strncmp(entry->d_name, "vocabulary", 10) == 0 ||
                                                 strncmp(entry->d_name, "split", 5) == 0);
        bool is_seed = strncmp(entry->d_name, "finding", 7) != 0;
        cr_expect(accepted || !is_seed || no_model, "%s/%s is refused", folder, entry->d_name);
        run_changed(target, data, bytes);
        free(data);
        n++;
    }
    closedir(entries);
    fuzz_file_clean();
    cr_assert_gt(n, 0, "no seeds in %s", folder);
}

Test(fuzz, moxie)
{
    replay(&fuzz_moxie, "moxie");
}

Test(fuzz, gguf)
{
    replay(&fuzz_gguf, "gguf");
}

Test(fuzz, safetensors)
{
    replay(&fuzz_safetensors, "safetensors");
}

Test(fuzz, config)
{
    replay(&fuzz_config, "config");
}

Test(fuzz, imatrix)
{
    replay(&fuzz_imatrix, "imatrix");
}

Test(fuzz, tokenizer)
{
    replay(&fuzz_tokenizer, "tokenizer");
}

Test(fuzz, tokenizer_model)
{
    replay(&fuzz_tokenizer_model, "tokenizer_model");
}

Test(fuzz, messages)
{
    replay(&fuzz_messages, "messages");
}

Test(fuzz, template)
{
    replay(&fuzz_template, "template");
}

Test(fuzz, eval_moxie)
{
    replay(&fuzz_eval, "moxie");
}

Test(fuzz, eval_gguf)
{
    replay(&fuzz_eval, "gguf");
}

Test(fuzz, quant)
{
    replay(&fuzz_quant, "quant");
}

Test(fuzz, cache)
{
    replay(&fuzz_cache, "cache");
}
