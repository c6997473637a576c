/* moxie: one program, a subcommand a file. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/lost_file.h"
#include "tools/tool.h"

struct tool {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static const struct tool tools[] = {
#define X(name, summary) {#name, summary, tool_##name},
    TOOLS(X)
#undef X
};
#define N_TOOLS (sizeof(tools) / sizeof(tools[0]))

static void print_usage(FILE *out)
{
    fprintf(out, "usage: moxie COMMAND [arguments]\n\n");
    for (size_t i = 0; i < N_TOOLS; i++) {
        fprintf(out, "  %-10s %s\n", tools[i].name, tools[i].summary);
    }
    fprintf(out, "\nmoxie COMMAND --help tells more. moxie --version prints the version.\n");
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_DFL);
    lost_file_catch();
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("moxie %s\n", MOXIE_VERSION);
        return 0;
    }
    for (size_t i = 0; i < N_TOOLS; i++) {
        if (strcmp(argv[1], tools[i].name) == 0) {
            int status = tools[i].run(argc - 1, argv + 1);
            /* A full disk behind a redirection must not look like success. */
            if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
                status = tool_fail(tools[i].name, "standard output could not be written");
            }
            return status;
        }
    }
    fprintf(stderr, "moxie: there is no command \"%s\" (moxie --help lists them)\n", argv[1]);
    return EXIT_USAGE;
}
