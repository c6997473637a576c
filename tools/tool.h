/* The frame of the subcommands: one table of them, one parser of options.
 *
 * A subcommand is one file tools/<name>.c with the function tool_<name> and one row in TOOLS. Exit
 * codes: 0, 1 (failed; one sentence on stderr), 2 (usage).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* X(name, summary) in the order of `moxie --help`. argv[0] is the subcommand's name. */
#define TOOLS(X) \
    X(chat, "talk with a model") \
    X(complete, "continue a text") \
    X(convert, "make a .moxie file from a Hugging Face folder or a GGUF file") \
    X(quantize, "make a .moxie file with fewer bits per weight") \
    X(imatrix, "collect activation statistics for quantize") \
    X(export, "make a GGUF file of a model") \
    X(synth, "write a model of random weights at the shape of a known one") \
    X(inspect, "show what is in a .moxie or GGUF file") \
    X(verify, "check every byte of a .moxie file") \
    X(bench, "measure how fast a model runs, and how fast it could") \
    X(selftest, "check every operation on this machine's device and driver") \
    X(devices, "list what can compute here") \
    X(tokenize, "text to token ids, or back") \
    X(render, "a conversation as the prompt the model's chat template makes of it") \
    X(logits, "logits for given token ids (for tests and debugging)")

#define X(name, summary) int tool_##name(int argc, char **argv);
TOOLS(X)
#undef X

enum option_kind {
    OPTION_FLAG,  /* bool *, no value */
    OPTION_TEXT,  /* const char ** */
    OPTION_U32,   /* uint32_t * */
    OPTION_U64,   /* uint64_t * */
    OPTION_LIMIT, /* uint32_t *: a number, or -1 for no limit (UINT32_MAX) */
    OPTION_FLOAT, /* float * */
    OPTION_BYTES, /* uint64_t *: a number with an optional K, M, G (binary) */
    OPTION_LIST,  /* struct text_list *: may be given more than once */
};

#define TEXT_LIST_MAX 64
struct text_list {
    const char *texts[TEXT_LIST_MAX];
    uint32_t n;
};

struct option {
    const char *name;  /* "--temp" or "-n"; long options also take --temp=0 */
    const char *alias; /* a second spelling, or NULL */
    enum option_kind kind;
    void *value;
    const char *argument; /* "T" in `--temp T`; NULL for flags */
    const char *help;
};

struct usage {
    const char *synopsis;                  /* "moxie chat [MODEL] [options]" */
    const char *text;                      /* paragraphs under it */
    const struct option *options;          /* ends with a row whose name is NULL */
    uint32_t min_arguments, max_arguments; /* that are not options */
};

/* Parses argv into the options' values and the other arguments (in place: *arguments points into
 * argv). "--" ends the options. Returns -1 to go on; 0 if --help was given (and printed);
 * EXIT_USAGE after a sentence on stderr. */
int options_parse(const struct usage *usage, int argc, char **argv, char ***arguments,
                  uint32_t *n_arguments);

/* "moxie NAME: sentence" on stderr; returns EXIT_FAILED, so that `return tool_fail(...)` reads
 * well. */
int tool_fail(const char *name, const char *sentence);

/* One line that overwrites itself on a terminal and stays quiet in a pipe: done of total bytes,
 * rate, time left. Zero-initialise; set title. */
struct progress {
    const char *title;
    const char *unit; /* what is counted, "tokens"; NULL: bytes */
    double started, printed;
    bool on_terminal;
};
void progress_update(struct progress *progress, uint64_t done, uint64_t total);
void progress_finish(struct progress *progress);
/* Since the first update. */
double progress_seconds(const struct progress *progress);

/* The line itself, cut to the width of the terminal; nothing in a pipe. */
__attribute__((format(printf, 1, 2))) void progress_line(const char *format, ...);
void progress_clear(void);

/* A number with an optional K, M, G or T (binary); false if it is something else. */
bool bytes_parse(const char *text, uint64_t *bytes);
/* "14.5 MiB", for people; returns text. */
const char *bytes_text(uint64_t bytes, char text[32]);

#define CACHE_FOLDER_BYTES 4096
/* $XDG_CACHE_HOME/moxie, else ~/.cache/moxie, written to `folder` (CACHE_FOLDER_BYTES), which is
 * returned; NULL if there is no such place. It need not exist. */
const char *cache_folder(char *folder);

/* Tries other sizes of kernels on a GPU, keeps the faster ones and prints a line for each to
 * `report`; an exit code. */
int tune_device(const char *tool, const char *device, FILE *report);

/* The path of the model that ships with moxie: beside the program in the build folder, or
 * installed; NULL if neither is there. */
const char *demo_model_path(void);
