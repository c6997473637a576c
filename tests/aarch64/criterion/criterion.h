/* What our tests use of Criterion, for a machine that has no Criterion: the same test files compile
 * against this and run one after the other in one process, with main in aarch64_main.c.
 */
#pragma once

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

struct criterion_test {
    const char *suite, *name;
    void (*run)(void);
    struct criterion_test *next;
};

void criterion_add(struct criterion_test *test);

/* The sentence that follows is why. Do not return. */
__attribute__((noreturn)) void criterion_fail(const char *file, int line);
__attribute__((noreturn)) void criterion_skip(void);
/* Goes on, but the test has failed. */
void criterion_note(const char *file, int line);

#define Test(suite_, name_) \
    static void suite_##_##name_(void); \
    __attribute__((constructor)) static void add_##suite_##_##name_(void) \
    { \
        static struct criterion_test test = {#suite_, #name_, suite_##_##name_, NULL}; \
        criterion_add(&test); \
    } \
    static void suite_##_##name_(void)

#define cr_assert(condition, ...) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, #condition " is false. " __VA_ARGS__); \
            criterion_fail(__FILE__, __LINE__); \
        } \
    } while (0)
#define cr_assert_not_null(pointer, ...) cr_assert((pointer) != NULL, ##__VA_ARGS__)
#define cr_expect(condition, ...) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, #condition " is false. " __VA_ARGS__); \
            criterion_note(__FILE__, __LINE__); \
        } \
    } while (0)
#define cr_skip(...) \
    do { \
        printf("skipped: " __VA_ARGS__); \
        criterion_skip(); \
    } while (0)
