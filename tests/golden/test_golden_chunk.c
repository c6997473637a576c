/* How many tokens are computed at once where nobody says: as many as the back end gains from while
 * there is room, never more than the context, fewer where nothing else fits. No device is needed
 * for the rule; a session on the CPU follows it. */
#include <criterion/criterion.h>

#include "engine/session_internal.h"
#include "tests/golden/golden.h"

static struct moxie_model *model;

static void open_demo(void)
{
    model = golden_open(golden_demo());
}

static void close_demo(void)
{
    moxie_close(&model);
}

TestSuite(golden_chunk, .init = open_demo, .fini = close_demo);

static uint32_t choose(uint32_t context, uint32_t most, uint64_t available)
{
    struct forward_options options = {.context = context, .kv_type = DTYPE_F16};
    return session_chunk_for(&model->model, &options, most, available);
}

/* What a session with this chunk takes. */
static uint64_t session_bytes(uint32_t context, uint32_t chunk)
{
    struct error err;
    struct forward forward;
    struct forward_options options = {.context = context, .chunk = chunk, .kv_type = DTYPE_F16};
    cr_assert(forward_init(&forward, &model->model, &options, &err), "%s", err.text);
    uint64_t bytes = forward_bytes(&forward);
    forward_free(&forward);
    return bytes;
}

Test(golden_chunk, as_many_as_pay_where_there_is_room)
{
    cr_expect_eq(choose(8192, 2048, UINT64_C(1) << 40), 2048);
    cr_expect_eq(choose(8192, 1024, UINT64_C(1) << 40), 1024);
    cr_expect_eq(choose(8192, 512, UINT64_C(1) << 40), 512);
    cr_expect_eq(choose(8192, 0, UINT64_C(1) << 40), 512);
    cr_expect_eq(choose(700, 2048, UINT64_C(1) << 40), 700);
    cr_expect_eq(choose(1, 2048, UINT64_C(1) << 40), 1);
}

Test(golden_chunk, it_falls_with_what_is_free)
{
    uint32_t before = 2048;
    for (uint64_t available = UINT64_C(1) << 34; available > 0; available /= 2) {
        uint32_t chunk = choose(8192, 2048, available);
        cr_expect_leq(chunk, before);
        cr_expect(chunk >= 16 && (chunk & (chunk - 1)) == 0, "%u", chunk);
        /* What is chosen fits, as long as anything does; beyond the usual with much to spare. */
        uint64_t bytes = session_bytes(8192, chunk);
        cr_expect(bytes <= available || chunk == 16, "%u", chunk);
        cr_expect(chunk <= 512 || bytes <= available / 2 + session_bytes(8192, 1), "%u", chunk);
        before = chunk;
    }
    cr_expect_eq(before, 16);
    /* Exactly what 512 need: 512, because 1024 would take more than a part of it. */
    cr_expect_eq(choose(8192, 2048, session_bytes(8192, 512)), 512);
    cr_expect_eq(choose(8192, 2048, session_bytes(8192, 512) - 1), 256);
}

Test(golden_chunk, sessions_follow)
{
    struct moxie_error err;
    struct moxie_session_options options = moxie_session_defaults();
    uint32_t chunks[2] = {0, 7};
    for (int i = 0; i < 2; i++) {
        options.chunk = chunks[i];
        struct moxie_session *session = moxie_session_create(model, &options, &err);
        cr_assert_not_null(session, "%s", err.text);
        uint32_t usual = moxie_context(session) < 512 ? moxie_context(session) : 512;
        cr_expect_eq(moxie_chunk(session), chunks[i] ? chunks[i] : usual);
        moxie_session_destroy(&session);
    }
}
