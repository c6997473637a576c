/* No memory is asked for while tokens flow: malloc and its kin are this program's own and count,
 * and an evaluation, or an answer, that is not the first of its kind calls none of them. Drivers of
 * Vulkan allocate by themselves; there only calls that come from our own code count.
 */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

/* ---- counting ---- */

static atomic_bool counting, only_ours;
static atomic_uint counted;

/* Whether an address lies in the file of the program or of the library. */
static bool is_ours(const void *address)
{
    Dl_info where, engine, test;
    return dladdr(address, &where) && dladdr(&counting, &test) &&
           dladdr((const void *)(uintptr_t)moxie_eval, &engine) &&
           (where.dli_fbase == engine.dli_fbase || where.dli_fbase == test.dli_fbase);
}

static void count(const void *caller)
{
    if (atomic_load(&counting) && (!atomic_load(&only_ours) || is_ours(caller))) {
        atomic_fetch_add(&counted, 1);
    }
}

/* The C library's own, under the names that do not call ours. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

void *malloc(size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_calloc(n, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, bytes);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset)
{
    count(__builtin_return_address(0));
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, file, offset);
}

/* ---- what is counted ---- */

#define TOKENS 20

static uint32_t count_eval(struct moxie_session *session, const uint32_t *ids, size_t n)
{
    struct moxie_error err;
    atomic_store(&counted, 0);
    atomic_store(&counting, true);
    bool ok = moxie_eval(session, ids, n, &err);
    atomic_store(&counting, false);
    cr_assert(ok, "%s", err.text);
    return atomic_load(&counted);
}

/* Evaluations of n tokens, in a session that had none of so many. The first prepares what all use,
 * which shows that calls are counted; the second may still find better segments. */
static void check_evals(struct moxie_session *session, size_t n, const char *what)
{
    uint32_t ids[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++) {
        ids[i] = 3 + i;
    }
    moxie_rewind(session, 0);
    cr_expect_gt(count_eval(session, ids, n), 0, "%s: %zu tokens, the first evaluation", what, n);
    golden_eval(session, ids, n);
    for (uint32_t i = 0; i < 5; i++) {
        cr_expect_eq(count_eval(session, ids, n), 0, "%s: %zu tokens, evaluation %u", what, n, i);
    }
}

/* Begins an answer after the tokens, takes five of it and ends it. */
static uint32_t count_answer(struct moxie_session *session, const struct moxie_sampling *sampling,
                             const uint32_t *ids, size_t n)
{
    struct moxie_error err;
    uint32_t id;
    moxie_rewind(session, 0);
    golden_eval(session, ids, n);
    atomic_store(&counted, 0);
    atomic_store(&counting, true);
    bool ok = moxie_generate_begin(session, sampling, ids, n, &err);
    for (int i = 0; ok && i < 5; i++) {
        ok = moxie_generate_next(session, &id, &err);
    }
    moxie_generate_end(session);
    atomic_store(&counting, false);
    cr_assert(ok, "%s", err.text);
    return atomic_load(&counted);
}

static void check_answers(struct moxie_session *session, const char *what)
{
    struct moxie_sampling sampling = moxie_sampling_defaults();
    uint32_t ids[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++) {
        ids[i] = 3 + i;
    }
    sampling.repeat_penalty = 1.1f;
    cr_expect_gt(count_answer(session, &sampling, ids, TOKENS), 0, "%s: the first answer", what);
    count_answer(session, &sampling, ids, TOKENS);
    for (uint32_t i = 0; i < 3; i++) {
        cr_expect_eq(count_answer(session, &sampling, ids, TOKENS), 0, "%s: answer %u", what, i);
    }
}

static void check_session(struct moxie_model *model, bool keep_routes, const char *what)
{
    struct moxie_session_options options = moxie_session_defaults();
    struct moxie_error err;
    options.context = 160;
    options.keep_routes = keep_routes;
    struct moxie_session *session = moxie_session_create(model, &options, &err);
    cr_assert_not_null(session, "%s", err.text);
    check_evals(session, 1, what);
    check_evals(session, TOKENS, what);
    check_answers(session, what);
    moxie_session_destroy(&session);
}

Test(golden_allocations, evaluations_and_answers)
{
    struct moxie_model *model = golden_open(golden_demo());
    atomic_store(&only_ours, golden_device()->vulkan);
    check_session(model, false, "plain");
    check_session(model, true, "with routes");
    moxie_close(&model);
}
