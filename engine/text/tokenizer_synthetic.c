#include "engine/text/tokenizer_synthetic.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/byte_map.h"
#include "engine/text/tokenizer_build.h"
#include "engine/text/tokenizer_pack.h"
#include "engine/text/tokenizer_patterns.h"

#define BYTES 256u
#define SPECIALS 3u
#define MAX_TOKENS 2048u
#define MAX_TEXT 32 /* bytes of a token's spelling */
#define END_OF_TEXT "<|endoftext|>"
#define MESSAGE_START "<|im_start|>"
#define MESSAGE_END "<|im_end|>"

const char tokenizer_synthetic_template[] =
    "{%- for m in messages -%}"
    "{{- '" MESSAGE_START "' + m.role + '\\n' + m.content + '" MESSAGE_END "\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '" MESSAGE_START "assistant\\n' -}}{%- endif -%}";

/* Each word, with a space before it, is a token, and so is every beginning of it. */
static const char words[] =
    "the of and to in is that it was for on are as with his they at be this have from or had by "
    "not but what all were when we there can an your which their said if will each about how up "
    "out them then she many some so these would other into has more her two like him see time "
    "could no make than first been its who now people my made over did down only way find use may "
    "water long little very after words called just where most know get through back much before "
    "go good new write our me man too any day same right look think also around another came come "
    "work three word must because does part even place well such here take why things help put "
    "years different away again off went old number great tell men say small every found still "
    "between name should home big give air line set own under read last never us left end along "
    "while might next sound below saw something thought both few those always looked show large "
    "often together asked house world going want school important until form food keep children "
    "feet land side without boy once animals life enough took sometimes four head above kind began "
    "almost live page got earth need far hand high year mother light parts country father let "
    "night following picture being study second eyes soon times story boys since white days ever "
    "paper hard near sentence better best across during today others however sure means knew try "
    "told young miles sun ways thing whole hear example heard several change answer room sea "
    "against top turned learn point city play toward five using himself usually money model token "
    "layer expert router weight memory device language question result value table return system";

struct builder {
    struct tokenizer_parts *parts;
    char (*texts)[MAX_TEXT]; /* (MAX_TOKENS), as the vocabulary spells them */
    uint32_t limit;          /* of tokens without the special ones */
};

static uint32_t find_token(const struct builder *b, const char *text)
{
    for (uint32_t id = 0; id < b->parts->n_tokens; id++) {
        if (strcmp(b->texts[id], text) == 0) {
            return id;
        }
    }
    return TOKENIZER_SECTION_NO_ID;
}

static uint32_t add_token(struct builder *b, const char *text, uint32_t flags)
{
    uint32_t id = b->parts->n_tokens++;
    assert(id < MAX_TOKENS && strlen(text) < MAX_TEXT);
    strcpy(b->texts[id], text);
    b->parts->tokens[id] = (struct tokenizer_part_token){b->texts[id], strlen(text), flags};
    return id;
}

static void add_bytes(struct builder *b)
{
    for (uint32_t byte = 0; byte < BYTES; byte++) {
        char text[MAX_TEXT] = "";
        text[byte_map_spell((uint8_t)byte, text)] = 0;
        add_token(b, text, TOKENIZER_SECTION_TOKEN_MODEL);
    }
}

/* The word letter by letter: each beginning is the one before merged with a byte. */
static void add_word(struct builder *b, const char *word, size_t bytes)
{
    char text[MAX_TEXT] = "", next[4];
    size_t used = byte_map_spell(' ', text);
    uint32_t left = find_token(b, text);
    for (size_t i = 0; i < bytes; i++) {
        size_t n = byte_map_spell((uint8_t)word[i], next);
        memcpy(text + used, next, n);
        used += n;
        text[used] = 0;
        next[n] = 0;
        uint32_t result = find_token(b, text);
        if (result == TOKENIZER_SECTION_NO_ID) {
            if (b->parts->n_tokens == b->limit) {
                return;
            }
            result = add_token(b, text, TOKENIZER_SECTION_TOKEN_MODEL);
            uint32_t rank = (uint32_t)b->parts->n_merges;
            b->parts->merges[b->parts->n_merges++] =
                (struct tokenizer_part_merge){left, find_token(b, next), rank, result};
        }
        left = result;
    }
}

static void add_words(struct builder *b)
{
    for (const char *word = words; *word;) {
        size_t bytes = strcspn(word, " ");
        add_word(b, word, bytes);
        word += bytes;
        word += *word == ' ';
    }
}

static void add_specials(struct builder *b)
{
    static const char *const texts[SPECIALS] = {END_OF_TEXT, MESSAGE_START, MESSAGE_END};
    struct tokenizer_parts *parts = b->parts;
    for (uint32_t i = 0; i < SPECIALS; i++) {
        bool stop = strcmp(texts[i], MESSAGE_START) != 0;
        uint32_t id = add_token(b, texts[i],
                                TOKENIZER_SECTION_TOKEN_ADDED | TOKENIZER_SECTION_TOKEN_SPECIAL |
                                    (stop ? (uint32_t)TOKENIZER_SECTION_TOKEN_STOP : 0u));
        parts->added[parts->n_added++] =
            (struct tokenizer_part_added){.id = id, .flags = TOKENIZER_SECTION_MATCH_SPECIAL};
    }
    parts->bos = parts->n_tokens - SPECIALS;
    parts->eos = parts->n_tokens - 1;
}

static void add_steps(struct tokenizer_parts *parts)
{
    const struct tokenizer_patterns *row = tokenizer_patterns_find("gpt-2", strlen("gpt-2"));
    parts->pre_tokenizer.at[parts->pre_tokenizer.count++] = (struct tokenizer_part_step){
        .kind = TOKENIZER_SECTION_SPLIT,
        .flags = TOKENIZER_SECTION_KEEP_MATCHES | TOKENIZER_SECTION_KEEP_GAPS,
        .text = row->split[0],
        .bytes = strlen(row->split[0]),
    };
    parts->decoder.at[parts->decoder.count++] =
        (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_RAW};
}

bool tokenizer_synthetic_pack(uint32_t vocabulary, void **section, uint64_t *bytes,
                              uint32_t *n_tokens, struct error *err)
{
    assert(vocabulary >= BYTES + SPECIALS);
    uint32_t limit = vocabulary < MAX_TOKENS ? vocabulary : MAX_TOKENS;
    struct tokenizer_parts parts = {.model = TOKENIZER_SECTION_BPE,
                                    .alphabet = TOKENIZER_SECTION_BYTES,
                                    .unk = TOKENIZER_SECTION_NO_ID,
                                    .tokens = calloc(MAX_TOKENS, sizeof(*parts.tokens)),
                                    .merges = calloc(MAX_TOKENS, sizeof(*parts.merges)),
                                    .added = calloc(SPECIALS, sizeof(*parts.added))};
    struct builder builder = {.parts = &parts,
                              .texts = calloc(MAX_TOKENS, sizeof(*builder.texts)),
                              .limit = limit - SPECIALS};
    bool ok = (parts.tokens && parts.merges && parts.added && builder.texts) ||
              error_set(err, "not enough memory for a tokenizer");
    if (ok) {
        add_bytes(&builder);
        add_words(&builder);
        add_specials(&builder);
        add_steps(&parts);
        *n_tokens = parts.n_tokens;
        ok = tokenizer_pack_parts(&parts, section, bytes, err);
    }
    free(builder.texts);
    tokenizer_parts_free(&parts);
    return ok;
}
