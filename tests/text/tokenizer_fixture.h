/* Tokenizers for tests: from a JSON text, from the files beside this one, from a shared folder. */
#pragma once

#include "engine/text/tokenizer.h"

struct tokenizer_fixture {
    void *section;
    uint64_t bytes;
    struct tokenizer *tokenizer;
};

/* Writes the JSON as tokenizer.json (and config as tokenizer_config.json unless NULL) into a fresh
 * place, packs and opens it. Fails the test if that does not work. */
void tokenizer_fixture_text(struct tokenizer_fixture *fixture, const char *json,
                            const char *config);
/* tests/text/tokenizer_<name>.json; for "moxie-tiny" the shared model, and false if it is absent.
 */
bool tokenizer_fixture_named(struct tokenizer_fixture *fixture, const char *name);
/* The tokenizer of a GGUF file; false, with a sentence, if it cannot be used. */
bool tokenizer_fixture_gguf(struct tokenizer_fixture *fixture, const char *path, struct error *err);
void tokenizer_fixture_free(struct tokenizer_fixture *fixture);

/* Fails the test unless the ids of all "strings" of a file of vectors (tests/text/<file>) are those
 * that the file has under `program`. */
void tokenizer_fixture_compare(const struct tokenizer_fixture *fixture, const char *file,
                               const char *program, uint32_t flags);

/* The error of packing such a tokenizer.json (files: name, content, ..., NULL). Fails the test if
 * packing works. Valid until the next call. */
const char *tokenizer_fixture_refused(const char *const files[]);

/* The byte-level tokenizer of nine tokens and <|x|> with rstrip, with NFC and Llama-3's pattern. */
extern const char tokenizer_fixture_tiny[];
/* SentencePiece BPE of ten pieces, of which two are bytes, as Llama-2's converter writes it. */
extern const char tokenizer_fixture_pieces[];
