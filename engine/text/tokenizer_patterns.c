#include "engine/text/tokenizer_patterns.h"

#include <string.h>

/* clang-format off */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s+(?!\\S)|\\s+"
#define CJK "[\xE4\xB8\x80-\xE9\xBE\xA5\xE0\xA0\x80-\xE4\xB8\x80\xEA\xB0\x80-\xED\x9F\xBF]+"

static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" SPACES;

/* The family of GPT-4's cl100k, which differs in the digits. */
#define CL100K(digits) \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES
static const char llama3[] = CL100K("\\p{N}{1,3}");
static const char qwen2[] = CL100K("\\p{N}");
static const char qwen35[] =
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|" SPACES;

/* GPT-4o's o200k: words by case. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define WORDS(upper, lower, end) \
    "[^\\r\\n\\p{L}\\p{N}]?" upper "*" lower "+" end "|[^\\r\\n\\p{L}\\p{N}]?" upper "+" lower "*" end
static const char o200k[] =
    WORDS(UPPER, LOWER, CONTRACTIONS "?")
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|" SPACES;
static const char tekken[] =
    WORDS(UPPER, LOWER, "") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|" SPACES;
/* Kimi's own spelling intersects the classes of letters with "not Han". */
static const char kimi[] =
    "[\\p{Han}]+|"
    WORDS("(?:(?!\\p{Han})" UPPER ")", "(?:(?!\\p{Han})" LOWER ")", CONTRACTIONS "?")
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES;

static const char deepseek3_cjk[] =
    "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+";
static const char deepseek3[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES;

/* The cased letters as DeepSeek's checkpoints list them. */
static const char deepseek_letters[] =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-"
    "ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-"
    "ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻"
    "𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
static const char deepseek_marks[] =
    "\\s?[!-/:-~\xEF\xBC\x81-\xEF\xBC\x8F\xEF\xBC\x9A-\xEF\xBD\x9E\xE2\x80\x98-\xE2\x80\x9F"
    "\xE3\x80\x80-\xE3\x80\x82]+";

static const char bailing[] =
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
    "\\s*[\\r\\n]|" SPACES;

#define IGNORE TOKENIZER_PATTERNS_IGNORE_MERGES
#define BOS TOKENIZER_PATTERNS_ADD_BOS
#define NFC TOKENIZER_PATTERNS_NFC
#define GPT2 {gpt2}
#define DIGIT_GPT2 {"\\p{N}", gpt2}
#define DEEPSEEK3 {"\\p{N}{1,3}", deepseek3_cjk, deepseek3}

/* Of names that mean the same, the first is the one that is written. */
static const struct tokenizer_patterns rows[] = {
    {"gpt-2", 0, GPT2},
    {"olmo", NFC, GPT2},
    {"mpt", 0, GPT2},
    {"jais", 0, GPT2},
    {"refact", 0, DIGIT_GPT2},
    {"starcoder", 0, DIGIT_GPT2},
    {"smollm", 0, DIGIT_GPT2},
    {"command-r", 0, DIGIT_GPT2},
    {"llama-bpe", IGNORE | BOS, {llama3}},
    {"llama3", IGNORE | BOS, {llama3}},
    {"llama-v3", IGNORE | BOS, {llama3}},
    {"lfm2", IGNORE | BOS, {llama3}},
    {"falcon3", IGNORE | BOS, {llama3}},
    {"pixtral", IGNORE | BOS, {llama3}},
    {"dbrx", 0, {llama3}},
    {"smaug-bpe", 0, {llama3}},
    {"glm4", 0, {llama3}},
    {"chatglm-bpe", 0, {llama3}},
    {"qwen2", NFC, {qwen2}},
    {"deepseek-r1-qwen", 0, {qwen2}},
    {"solar-open", 0, {qwen2}},
    {"hunyuan", 0, {qwen2}},
    {"grok-2", 0, {qwen2}},
    {"megrez", 0, {qwen2}},
    {"qwen35", NFC, {qwen35}},
    {"gpt-4o", 0, {o200k}},
    {"llama4", 0, {o200k}},
    {"minimax-m2", 0, {o200k}},
    {"tekken", IGNORE | BOS, {tekken}},
    {"deepseek-v3", 0, DEEPSEEK3},
    {"joyai-llm", 0, DEEPSEEK3},
    {"hunyuan-dense", 0, DEEPSEEK3},
    {"deepseek-llm", 0,
     {"[\\r\\n]", deepseek_letters, deepseek_marks, "\\s+$", CJK, "\\p{N}+"}},
    {"deepseek-coder", 0, {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, "\\p{N}"}},
    {"kimi-k2", 0, {kimi}},
    {"bailingmoe", 0, {bailing}},
    {"bailingmoe2", 0, {bailing}},
    {"falcon", 0, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", gpt2, "[0-9][0-9][0-9]"}},
    {"default", 0, {"[\\p{P}\\$\\+<=>\\^~\\|]+", gpt2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};
/* clang-format on */
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

const struct tokenizer_patterns *tokenizer_patterns_find(const char *name, size_t bytes)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if (strlen(rows[i].name) == bytes && memcmp(rows[i].name, name, bytes) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static bool same(const struct tokenizer_patterns *row, const struct tokenizer_patterns_text *split,
                 uint32_t count)
{
    uint32_t i = 0;
    while (i < count && i < TOKENIZER_PATTERNS_MAX && row->split[i] &&
           strlen(row->split[i]) == split[i].bytes &&
           memcmp(row->split[i], split[i].text, split[i].bytes) == 0) {
        i++;
    }
    return i == count && (i == TOKENIZER_PATTERNS_MAX || !row->split[i]);
}

const struct tokenizer_patterns *
tokenizer_patterns_match(const struct tokenizer_patterns_text *split, uint32_t count,
                         bool ignore_merges, bool nfc)
{
    const struct tokenizer_patterns *found = NULL;
    for (size_t i = 0; i < N_ROWS; i++) {
        bool ignores = rows[i].flags & TOKENIZER_PATTERNS_IGNORE_MERGES;
        bool composes = rows[i].flags & TOKENIZER_PATTERNS_NFC;
        if (ignores == ignore_merges && same(&rows[i], split, count)) {
            if (composes == nfc) {
                return &rows[i];
            }
            found = found ? found : &rows[i];
        }
    }
    return found;
}
