#include "tools/lost_file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

/* Everything here runs in a signal handler: nothing is allocated, and nothing is called but what
 * POSIX allows there. */

static bool read_hex(const char **text, uintptr_t *value)
{
    const char *start = *text;
    for (*value = 0;; (*text)++) {
        char c = **text;
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f')) {
            return *text > start;
        }
        *value = *value << 4 | (uintptr_t)(digit ? c - '0' : c - 'a' + 10);
    }
}

/* Of a line of /proc/self/maps, "begin-end permissions offset device inode      /path", the path,
 * if the address lies between the two. */
static const char *path_in_line(const char *line, uintptr_t address)
{
    uintptr_t begin, end;
    if (!read_hex(&line, &begin) || *line++ != '-' || !read_hex(&line, &end) || address < begin ||
        address >= end) {
        return NULL;
    }
    return strchr(line, '/');
}

/* Of the file that is mapped there; NULL if that cannot be told. Lines are cut to fit. */
static const char *find_path(uintptr_t address)
{
    static char line[4608], piece[4096];
    size_t length = 0;
    ssize_t n;
    const char *path = NULL;
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while (maps >= 0 && !path && (n = read(maps, piece, sizeof(piece))) > 0) {
        for (ssize_t i = 0; i < n && !path; i++) {
            if (piece[i] != '\n') {
                unsigned char c = (unsigned char)piece[i];
                line[length] = c < ' ' || c == 0x7F ? '?' : piece[i];
                length += length + 1 < sizeof(line);
                continue;
            }
            line[length] = 0;
            length = 0;
            path = path_in_line(line, address);
        }
    }
    return path;
}

static void write_text(const char *text)
{
    (void)!write(STDERR_FILENO, text, strlen(text));
}

static void tell(int signal_number, siginfo_t *info, void *context)
{
    static atomic_flag told;
    while (atomic_flag_test_and_set(&told)) {
        pause(); /* another thread has found it, and ends them all */
    }
    const char *path = find_path((uintptr_t)info->si_addr);
    write_text("moxie: ");
    write_text(path ? path : "a file");
    write_text(" became shorter while it was read, or its drive failed; "
               "start again when it is whole\n");
    _exit(EXIT_FAILED);
}

void lost_file_catch(void)
{
    struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
}
