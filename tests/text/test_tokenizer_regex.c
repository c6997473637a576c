/* Patterns of pre-tokenizers: Oniguruma's meaning, and bounds on hostile ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "engine/text/tokenizer_regex.h"
#include "engine/text/unicode.h"
#include "tests/check.h"

static const char llama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char deepseek_llm[] =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+|\\s?[!-/"
    ":-~！-／：-～‘-‟　-。]+|\\s+$|[一-龥ࠀ-一가-퟿]+|\\p{N}+";
static const char bailing[] = "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
                              "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
static const char falcon[] = "[\\p{P}\\$\\+<=>\\^~\\|`]+";

static struct tokenizer_regex *create(const char *pattern)
{
    struct error err = {0};
    struct tokenizer_regex *regex = tokenizer_regex_create(pattern, strlen(pattern), &err);
    cr_assert(regex, "%s: %s", pattern, err.text);
    return regex;
}

/* All matches, each between brackets. */
static const char *matches(const char *pattern, const char *text)
{
    static char out[1024];
    struct tokenizer_regex *regex = create(pattern);
    size_t bytes = strlen(text), n = 0;
    struct tokenizer_regex_search *search = tokenizer_regex_search_create(bytes, NULL);
    struct tokenizer_regex_match match;
    for (size_t from = 0; from < bytes; from = match.end) {
        cr_assert(tokenizer_regex_find(regex, search, text, bytes, from, &match, NULL));
        if (!match.found || match.end == from) {
            break;
        }
        n += (size_t)snprintf(out + n, sizeof(out) - n, "[%.*s]", (int)(match.end - match.begin),
                              text + match.begin);
    }
    out[n] = 0;
    tokenizer_regex_search_destroy(&search);
    tokenizer_regex_destroy(&regex);
    return out;
}

static void expect(const char *pattern, const char *text, const char *wanted)
{
    const char *got = matches(pattern, text);
    cr_expect_str_eq(got, wanted, "%s on \"%s\": %s, not %s", pattern, text, got, wanted);
}

/* Expected values: Oniguruma's, through the `tokenizers` library. */
Test(regex, means_what_oniguruma_means)
{
    expect("\\s",
           "a\u180eb\xC2\x85"
           "c\u200bd\x1c",
           "[\xC2\x85]");
    expect("\\S+", "a\u180eb\u00a0c", "[a\u180eb][c]");
    expect("[^\\s]+", "a\u180eb\u3000c", "[a\u180eb][c]");
    expect("(?i:'s)", "x'ſ'S's", "['ſ]['S]['s]");
    expect("(?i:k)(?-i:x)", "\u212axkX", "[\u212ax]");
    expect("\\s+$", "a  \n b  \nc  ", "[  ][  ][  ]");
    expect("^a", "a\na\n", "[a][a]");
    expect("a.", "xa\nxa\rx", "[a\r]");
    expect("\\p{Han}+", "々〇漢・ー", "[々〇漢]");
    expect("\\p{Greek}+", "aα\u0342b", "[α]");
    expect("\\p{^L}+", "a1!b", "[1!]");
    expect("\\P{L}+", "a1!b", "[1!]");
    expect("\\d+", "a١b½2", "[١][2]");
    expect("[\\d\\-x]+", "a1-x", "[1-x]");
    expect("x++y|x", "xxyx", "[xxy][x]");
    expect("a{2}|b{1,}|c{1,2}", "aaabbccc", "[aa][bb][cc][c]");
    expect("\\u00e9\\x{4E00}\\x41", "xé一A", "[é一A]");
    expect("\\v|\\t", "\x0b\x0c\t\xC2\x85", "[\x0b][\t]");
    expect("(a|b)(?=c)|(?<!x)d", "acbxd d", "[a][d]");
    expect("\\[\\]\\\\\\.\\^", "[]\\.^", "[[]\\.^]");
    expect("}|]", "a}]", "[}][]]");
    expect("[\\p{L}&&[^a]]+", "abca\u00e91", "[bc][\u00e9]");
    expect("[\\p{L}\\p{N}&&[a-c1]]", "xa1\u00e92", "[a][1]");
    expect(llama3, "I'LL don't  we're 12345\n\n x",
           "[I]['LL][ don]['t][ ][ we]['re][ ][123][45][\n\n]"
           "[ x]");
    expect(deepseek_llm, "Ünï  x 漢字12  ", "[Ünï][ x][漢字][12][  ]");
    expect(bailing, "don't ''s  12\n", "[don]['t][ ''][s][ ][ ][1][2][\n]");
    expect(falcon, "a+b<=>`~x", "[+][<=>`~]");
}

static void refuse(const char *pattern, const char *named)
{
    struct error err = {0};
    struct tokenizer_regex *regex = tokenizer_regex_create(pattern, strlen(pattern), &err);
    cr_expect_null(regex, "%s", pattern);
    cr_expect(strstr(err.text, named), "%s: %s", pattern, err.text);
    tokenizer_regex_destroy(&regex);
}

Test(regex, refuses_what_would_differ)
{
    refuse("\\w+", "\\w");
    refuse("\\bx", "\\b");
    refuse("\\hx", "\\h");
    refuse("(a)\\1", "\\1");
    refuse("\\p{Alphabetic}", "\\p{Alphabetic}");
    refuse("\\p{L", "\\p{");
    refuse("\\pL", "\\pL");
    refuse("[a[b]]", "nested");
    refuse("[a&&b]", "&&");
    refuse("[^a&&[b]]", "complement");
    refuse("[a&&[b]c]", "&&");
    refuse("[a&&[b]&&[c]]", "&&");
    refuse("[&&[b]]", "empty");
    refuse("[a&&[]]", "empty");
    refuse("[a&&[b[c]]]", "nested");
    refuse("[a&&", "&&");
    refuse("[a&&[b", "no end");
    refuse("[a&&[b]", "&&");
    refuse("[[:alpha:]]", "nested");
    refuse("[]a]", "empty");
    refuse("[a", "no end");
    refuse("(?<name>a)", "(?<n");
    refuse("(?i)a", "(?i)");
    refuse("(?#x)a", "(?#x");
    refuse("(*UTF)a", "(*UT");
    refuse("(*LIMIT_MATCH=1)a", "(*LI");
    refuse("(a", "not closed");
    refuse("a)", "no group");
    refuse("a{,2}", "{,2}");
    refuse("a{2}+", "{2}+");
    refuse("a{2}?", "{2}?");
    refuse("a{5000}", "{5000}");
    refuse("{", "{");
    refuse("(?i:ss)", "(?i: )");
    refuse("(?i:ß)", "(?i: )");
    refuse("(?i:\\p{Lu})", "(?i: )");
    refuse("\\x80", "\\x80");
    refuse("\\uD800", "\\uD800");
    refuse("\\x{110000}", "\\x{110000");
    refuse("a\\", "backslash");
    refuse("\\é", "\\é");
    refuse("a**", "compiled");
    refuse("", "0 bytes");
}

Test(regex, windows_do_not_change_matches)
{
    char text[2100];
    struct tokenizer_regex *regex = create(llama3);
    struct tokenizer_regex_match match;
    for (size_t n = 2; n < 2000; n += n < 300 ? 1 : 97) {
        struct tokenizer_regex_search *search = tokenizer_regex_search_create(n + 2, NULL);
        memset(text, ' ', n);
        text[n] = 'x';
        cr_assert(tokenizer_regex_find(regex, search, text, n + 1, 0, &match, NULL));
        cr_expect(match.found && match.begin == 0 && match.end == n - 1, "%zu spaces", n);
        cr_assert(tokenizer_regex_find(regex, search, text, n, 0, &match, NULL));
        cr_expect(match.found && match.end == n, "%zu spaces at the end", n);
        text[n - 1] = '\n';
        cr_assert(tokenizer_regex_find(regex, search, text, n + 1, 0, &match, NULL));
        cr_expect(match.found && match.end == n, "%zu spaces and a newline", n);
        for (size_t i = 0; i + 1 < n; i += 2) {
            memcpy(text + i, "é", 2);
        }
        cr_assert(tokenizer_regex_find(regex, search, text, n - n % 2, 0, &match, NULL));
        cr_expect(match.found && match.end == n - n % 2, "%zu bytes of letters", n);
        tokenizer_regex_search_destroy(&search);
    }
    tokenizer_regex_destroy(&regex);
}

/* Exponential and quadratic pairs of pattern and text end, with a sentence if need be. */
Test(regex, hostile_pairs_end, .timeout = 240)
{
    static const char *const patterns[] = {
        "(a+)+[bc]",           "(a|a)*[bc]",      "(a|aa)+$[bc]",      "\\s+$",
        "(?:a*)*[bc]|a",       "(?=a*[bc])a|a",   "(?=a*+[bc])a|a",    "a*?a*?a*?[bc]|a",
        "\\p{L}++[bc]|\\p{L}", "(?:a?){100}[bc]", "(?<=a)[bc]",        "(?:a{1,1000}){1,9}[bc]",
        "(?:(?:a*)*)*[bc]",    "(?!a*[bc])a",     "(?:\\p{L}|a)*[bc]", "(?:\\p{L}+|a+)+[bc]|a",
    };
    const size_t size = 1 << 16;
    char *text = malloc(size);
    size_t refused = 0;
    memset(text, 'a', size);
    for (size_t p = 0; p < sizeof(patterns) / sizeof(*patterns); p++) {
        struct tokenizer_regex *regex = create(patterns[p]);
        for (int spaces = 0; spaces < 2; spaces++) {
            struct tokenizer_regex_search *search = tokenizer_regex_search_create(size, NULL);
            struct tokenizer_regex_match match = {.found = true};
            struct error err = {0};
            memset(text, spaces ? ' ' : 'a', size - 1);
            bool ok = true;
            for (size_t from = 0;
                 ok && match.found && from<size; from = match.end> from ? match.end : from + 1) {
                ok = tokenizer_regex_find(regex, search, text, size, from, &match, &err);
            }
            if (!ok) {
                refused++;
                cr_expect(strstr(err.text, "pattern"), "%s", err.text);
            }
            tokenizer_regex_search_destroy(&search);
        }
        tokenizer_regex_destroy(&regex);
    }
    cr_expect_geq(refused, 4);
    free(text);
}

/* Compiling is bounded: these would be large or deep. */
Test(regex, hostile_patterns_are_refused)
{
    char pattern[40000];
    memset(pattern, '(', 500);
    memset(pattern + 500, ')', 500);
    pattern[1000] = 0;
    refuse(pattern, "nested too deeply");
    refuse("((((a{1000}){1000}){1000}){1000}){1000}", "compiled");
    refuse("(?:(?:(?:\\p{L}{900}|\\p{N}{900}){900}|b){900})", "compiled");
    memset(pattern, 'a', sizeof(pattern) - 1);
    pattern[sizeof(pattern) - 1] = 0;
    refuse(pattern, "39999 bytes");
}

/* Every beginning of real patterns, and patterns with bytes exchanged, compile or are refused. */
Test(regex, damaged_patterns)
{
    const char *const patterns[] = {llama3, deepseek_llm, bailing, falcon};
    const char *text = "Ab 12 'LL \n\n 漢字 ...";
    struct check_random random = {7};
    size_t good = 0, bad = 0;
    for (size_t i = 0; i < 3000; i++) {
        char pattern[512];
        const char *source = patterns[check_random_below(&random, 4)];
        size_t n = strlen(source);
        memcpy(pattern, source, n + 1);
        if (i % 2) {
            n = check_random_below(&random, (uint32_t)n);
        }
        for (uint32_t k = i % 5; k > 0 && n > 0; k--) {
            pattern[check_random_below(&random, (uint32_t)n)] =
                "()[]{}\\?*+|^$&:!=<>ip,0a"[check_random_below(&random, 24)];
        }
        if (!unicode_is_valid(pattern, n)) {
            continue;
        }
        struct error err = {0};
        struct tokenizer_regex *regex = tokenizer_regex_create(pattern, n, &err);
        bad += !regex;
        good += regex != NULL;
        cr_expect((regex != NULL) == (err.text[0] == 0));
        if (regex) {
            struct tokenizer_regex_search *search =
                tokenizer_regex_search_create(strlen(text), NULL);
            struct tokenizer_regex_match match = {.found = true};
            for (size_t from = 0;
                 match.found && from<strlen(text); from = match.end> from ? match.end : from + 1) {
                if ((text[from] & 0xC0) != 0x80 &&
                    !tokenizer_regex_find(regex, search, text, strlen(text), from, &match, NULL)) {
                    break;
                }
            }
            tokenizer_regex_search_destroy(&search);
        }
        tokenizer_regex_destroy(&regex);
    }
    cr_expect(good > 100 && bad > 100, "%zu good, %zu bad", good, bad);
}
