/* Runs all tests that were linked in, and ends with counts as Criterion does. An argument names the
 * only suite to run.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

static struct criterion_test *tests;
static jmp_buf test_end;
enum outcome { PASSED, FAILED, SKIPPED, OUTCOMES };
static enum outcome outcome;

void criterion_add(struct criterion_test *test)
{
    struct criterion_test **last = &tests;
    while (*last) {
        last = &(*last)->next;
    }
    *last = test;
}

void criterion_note(const char *file, int line)
{
    fprintf(stderr, "\n%s:%d\n", file, line);
    outcome = FAILED;
}

void criterion_fail(const char *file, int line)
{
    criterion_note(file, line);
    longjmp(test_end, 1);
}

void criterion_skip(void)
{
    outcome = SKIPPED;
    longjmp(test_end, 1);
}

/* A function of its own, because it is what longjmp returns to. */
static enum outcome run(const struct criterion_test *test)
{
    outcome = PASSED;
    if (setjmp(test_end) == 0) {
        test->run();
    }
    return outcome;
}

int main(int argc, char **argv)
{
    static const char *const labels[OUTCOMES] = {"PASS", "FAIL", "SKIP"};
    unsigned counts[OUTCOMES] = {0};
    for (const struct criterion_test *test = tests; test; test = test->next) {
        if (argc > 1 && strcmp(test->suite, argv[1]) != 0) {
            continue;
        }
        enum outcome result = run(test);
        printf("[%s] %s::%s:\n", labels[result], test->suite, test->name);
        fflush(stdout);
        counts[result]++;
    }
    printf("Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: 0\n",
           counts[PASSED] + counts[FAILED], counts[PASSED], counts[FAILED]);
    return counts[FAILED] > 0 || counts[PASSED] == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
