#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/inspect.h"
#include "tools/tool.h"

static void print_help(const struct usage *usage)
{
    printf("usage: %s\n\n%s\n", usage->synopsis, usage->text);
    printf("\noptions:\n");
    for (const struct option *option = usage->options; option->name; option++) {
        char left[80];
        snprintf(left, sizeof(left), "%s%s%s%s%s", option->name, option->alias ? ", " : "",
                 option->alias ? option->alias : "", option->argument ? " " : "",
                 option->argument ? option->argument : "");
        printf("  %-28s %s\n", left, option->help);
    }
    printf("  %-28s %s\n", "--help, -h", "this text");
}

static int usage_error(const struct usage *usage, const char *what, const char *argument)
{
    fprintf(stderr, "moxie: %s%s%s%s\nusage: %s (--help for more)\n", what, argument ? " \"" : "",
            argument ? argument : "", argument ? "\"" : "", usage->synopsis);
    return EXIT_USAGE;
}

static bool parse_unsigned(const char *text, uint64_t limit, uint64_t *value, char **end)
{
    if (*text < '0' || *text > '9') {
        return false; /* strtoull would take signs and spaces */
    }
    errno = 0;
    *value = strtoull(text, end, 10);
    return errno == 0 && *value <= limit;
}

bool bytes_parse(const char *text, uint64_t *value)
{
    static const char units[] = "KMGT";
    char *end;
    if (!parse_unsigned(text, UINT64_MAX >> 40, value, &end)) {
        return false;
    }
    if (*end) {
        const char *unit = strchr(units, *end & ~0x20);
        if (!unit || end[1]) {
            return false;
        }
        *value <<= 10 * (unit - units + 1);
    }
    return true;
}

/* What the value of an option is, for those who gave another. */
static const char *wanted_text(enum option_kind kind)
{
    switch (kind) {
    case OPTION_U32:
        return "it is a number from 0 to 4294967295";
    case OPTION_U64:
        return "it is a number from 0 to 18446744073709551615";
    case OPTION_LIMIT:
        return "it is a number from 0 to 4294967295, or -1 for no limit";
    case OPTION_FLOAT:
        return "it is a number like 0.8";
    case OPTION_BYTES:
        return "it is a number of bytes like 512M or 6G";
    default:
        return "it was given too often";
    }
}

static bool parse_value(const struct option *option, const char *text)
{
    uint64_t number;
    char *end;
    switch (option->kind) {
    case OPTION_FLAG:
        return false;
    case OPTION_TEXT:
        *(const char **)option->value = text;
        return true;
    case OPTION_LIMIT:
        if (strcmp(text, "-1") == 0) {
            *(uint32_t *)option->value = UINT32_MAX;
            return true;
        }
        __attribute__((fallthrough));
    case OPTION_U32:
        if (!parse_unsigned(text, UINT32_MAX, &number, &end) || *end) {
            return false;
        }
        *(uint32_t *)option->value = (uint32_t)number;
        return true;
    case OPTION_U64:
        return parse_unsigned(text, UINT64_MAX, option->value, &end) && !*end;
    case OPTION_FLOAT: {
        float value = strtof(text, &end);
        if (end == text || *end || !isfinite(value)) {
            return false;
        }
        *(float *)option->value = value;
        return true;
    }
    case OPTION_BYTES:
        return bytes_parse(text, option->value);
    case OPTION_LIST: {
        struct text_list *list = option->value;
        if (list->n == TEXT_LIST_MAX) {
            return false;
        }
        list->texts[list->n++] = text;
        return true;
    }
    }
    return false;
}

static const struct option *find_option(const struct usage *usage, const char *name, size_t bytes)
{
    for (const struct option *option = usage->options; option->name; option++) {
        if ((strlen(option->name) == bytes && memcmp(option->name, name, bytes) == 0) ||
            (option->alias && strlen(option->alias) == bytes &&
             memcmp(option->alias, name, bytes) == 0)) {
            return option;
        }
    }
    return NULL;
}

/* Handles argv[*at], which looks like an option. */
static int parse_option(const struct usage *usage, int argc, char **argv, int *at)
{
    char *text = argv[*at];
    char *equals = text[1] == '-' ? strchr(text, '=') : NULL;
    size_t bytes = equals ? (size_t)(equals - text) : strlen(text);
    if (strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0) {
        print_help(usage);
        return 0;
    }
    const struct option *option = find_option(usage, text, bytes);
    if (!option) {
        return usage_error(usage, "there is no option", text);
    }
    if (option->kind == OPTION_FLAG) {
        if (equals) {
            return usage_error(usage, "this option takes no value:", text);
        }
        *(bool *)option->value = true;
        return -1;
    }
    char *value = equals ? equals + 1 : ++*at < argc ? argv[*at] : NULL;
    if (!value) {
        return usage_error(usage, "a value is missing after", text);
    }
    if (!parse_value(option, value)) {
        fprintf(stderr, "moxie: %s cannot be \"%s\": %s\n", option->name, value,
                wanted_text(option->kind));
        return EXIT_USAGE;
    }
    return -1;
}

int options_parse(const struct usage *usage, int argc, char **argv, char ***arguments,
                  uint32_t *n_arguments)
{
    int kept = 1;
    bool only_arguments = false;
    for (int at = 1; at < argc; at++) {
        if (!only_arguments && strcmp(argv[at], "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && argv[at][0] == '-' && argv[at][1]) {
            int status = parse_option(usage, argc, argv, &at);
            if (status >= 0) {
                return status;
            }
        } else {
            argv[kept++] = argv[at];
        }
    }
    *arguments = argv + 1;
    *n_arguments = (uint32_t)(kept - 1);
    if (*n_arguments < usage->min_arguments) {
        return usage_error(usage, "an argument is missing", NULL);
    }
    if (*n_arguments > usage->max_arguments) {
        return usage_error(usage, "one argument too many:", (*arguments)[usage->max_arguments]);
    }
    return -1;
}

int tool_fail(const char *name, const char *sentence)
{
    char *printable =
        inspect_printable(sentence, strlen(sentence)); /* names of files may be evil */
    fprintf(stderr, "moxie %s: %s\n", name, printable ? printable : "out of memory");
    free(printable);
    return EXIT_FAILED;
}

const char *bytes_text(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    uint32_t unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}
