/* The public door of the template interpreter, and its context: the arena, the output buffer, the
 * bounds, and the one place where a failure lands.
 */
#include "engine/text/chat_template.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "engine/text/chat_template_internal.h"

struct chat_template {
    struct template_chunk *chunks;
    struct template_node *body;
};

/* ---- failure ------------------------------------------------------------------------------ */

void template_fail(struct template_context *context, const char *format, ...)
{
    char sentence[sizeof(context->err->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    for (char *c = sentence; *c; c++) {
        if ((unsigned char)*c < ' ') { /* of quoted source */
            *c = ' ';
        }
    }
    if (context->line) {
        error_set(context->err, "chat template, line %u: %s", context->line, sentence);
    } else {
        error_set(context->err, "chat template: %s", sentence);
    }
    longjmp(context->fail, 1);
}

int template_clip(const char *data, size_t bytes)
{
    size_t n = bytes < 60 ? bytes : 60;
    while (n < bytes && n > 0 && ((unsigned char)data[n] & 0xC0) == 0x80) {
        n--;
    }
    return (int)n;
}

void template_raise(struct template_context *context, const struct template_string *message)
{
    size_t bytes = template_space_before(message->data, message->bytes);
    if (bytes == 0 || message->data[0] == 0) {
        error_set(context->err, "the template raised an exception without a message");
    } else {
        error_set(context->err, "%.*s", bytes < 4096 ? (int)bytes : 4096, message->data);
    }
    longjmp(context->fail, 1);
}

/* ---- bounds ------------------------------------------------------------------------------- */

void template_charge(struct template_context *context, uint64_t bytes)
{
    context->steps += 1 + bytes / 64;
    if (context->steps > TEMPLATE_MAX_STEPS) {
        template_fail(context, "the template takes more than %u steps; it may never end",
                      TEMPLATE_MAX_STEPS);
    }
}

void template_enter(struct template_context *context)
{
    if (++context->depth > TEMPLATE_MAX_DEPTH) {
        template_fail(context, "nested more than %d deep; a macro may call itself for ever",
                      TEMPLATE_MAX_DEPTH);
    }
}

void template_leave(struct template_context *context)
{
    context->depth--;
}

/* ---- the arena ---------------------------------------------------------------------------- */

struct template_chunk {
    struct template_chunk *next;
    max_align_t data[];
};

#define CHUNK_BYTES ((size_t)64 << 10)

static void *new_chunk(struct template_context *context, size_t bytes)
{
    if (bytes > TEMPLATE_MAX_MEMORY - context->memory) {
        template_fail(context, "the template needs more than %u MiB of memory",
                      (unsigned)(TEMPLATE_MAX_MEMORY >> 20));
    }
    struct template_chunk *chunk = malloc(sizeof(*chunk) + bytes);
    if (!chunk) {
        template_fail(context, "not enough memory");
    }
    context->memory += bytes;
    chunk->next = context->chunks;
    context->chunks = chunk;
    return chunk->data;
}

void *template_allocate(struct template_context *context, size_t bytes)
{
    if (bytes > TEMPLATE_MAX_MEMORY) {
        bytes = TEMPLATE_MAX_MEMORY + 1; /* so that rounding up cannot wrap; refused below */
    }
    bytes = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (bytes > CHUNK_BYTES / 4) {
        return new_chunk(context, bytes);
    }
    if (bytes > context->free_bytes) {
        context->free_memory = new_chunk(context, CHUNK_BYTES);
        context->free_bytes = CHUNK_BYTES;
    }
    void *memory = context->free_memory;
    context->free_memory += bytes;
    context->free_bytes -= bytes;
    return memory;
}

static void free_chunks(struct template_chunk *chunk)
{
    while (chunk) {
        struct template_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

/* ---- the output buffer -------------------------------------------------------------------- */

/* Room for `bytes` more and a final NUL. */
static void reserve_output(struct template_context *context, size_t bytes)
{
    if (bytes > TEMPLATE_MAX_OUTPUT - context->out_bytes) {
        template_fail(context, "the text grows beyond %u MiB",
                      (unsigned)(TEMPLATE_MAX_OUTPUT >> 20));
    }
    size_t needed = context->out_bytes + bytes + 1;
    if (needed <= context->out_capacity) {
        return;
    }
    size_t capacity = context->out_capacity ? context->out_capacity : 1024;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *out = realloc(context->out, capacity);
    if (!out) {
        template_fail(context, "not enough memory");
    }
    context->out = out;
    context->out_capacity = capacity;
}

void template_append(struct template_context *context, const void *data, size_t bytes)
{
    reserve_output(context, bytes);
    if (bytes > 0) {
        memcpy(context->out + context->out_bytes, data, bytes);
        context->out_bytes += bytes;
    }
}

void template_append_text(struct template_context *context, const char *text)
{
    template_append(context, text, strlen(text));
}

void template_append_string(struct template_context *context, const struct template_string *string)
{
    template_append(context, string->data, string->bytes);
}

void template_append_point(struct template_context *context, int32_t point)
{
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char(point, bytes);
    template_append(context, bytes, (size_t)n);
}

void template_append_repeated(struct template_context *context, char byte, int64_t count)
{
    if (count > 0) {
        reserve_output(context, (uint64_t)count > SIZE_MAX ? SIZE_MAX : (size_t)count);
        memset(context->out + context->out_bytes, byte, (size_t)count);
        context->out_bytes += (size_t)count;
    }
}

const struct template_string *template_take(struct template_context *context, size_t from)
{
    assert(from <= context->out_bytes);
    size_t bytes = context->out_bytes - from;
    char *data = template_allocate(context, bytes + 1);
    if (bytes > 0) {
        memcpy(data, context->out + from, bytes);
    }
    context->out_bytes = from;
    return template_string_view(context, data, bytes);
}

/* ---- create and render -------------------------------------------------------------------- */

static struct template_node *parse(struct template_context *context, const char *text, size_t bytes)
{
    if (setjmp(context->fail)) {
        return NULL;
    }
    context->line = 1;
    return template_parser_run(context, text, bytes);
}

static bool is_utf8(const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        utf8proc_int32_t point;
        size_t left = bytes - at;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                              left < 8 ? (utf8proc_ssize_t)left : 8, &point);
        if (n <= 0) {
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

struct chat_template *chat_template_create(const char *text, size_t bytes, struct error *err)
{
    if (bytes > CHAT_TEMPLATE_MAX_BYTES) {
        error_set(err, "chat template: %zu bytes are more than the %u a template may have", bytes,
                  CHAT_TEMPLATE_MAX_BYTES);
        return NULL;
    }
    if (!is_utf8(text, bytes)) {
        error_set(err, "chat template: the text is not UTF-8");
        return NULL;
    }
    struct chat_template *template = calloc(1, sizeof(*template));
    if (!template) {
        error_set(err, "chat template: not enough memory");
        return NULL;
    }
    struct template_context context = {.err = err};
    template->body = parse(&context, text, bytes);
    template->chunks = context.chunks;
    free(context.out);
    if (!template->body) {
        chat_template_destroy(&template);
    }
    return template;
}

void chat_template_destroy(struct chat_template **template)
{
    if (*template) {
        free_chunks((*template)->chunks);
        free(*template);
        *template = NULL;
    }
}

static bool render(struct template_context *context, const struct chat_template *template,
                   const json_t *variables)
{
    if (setjmp(context->fail)) {
        return false;
    }
    struct template_scope given = {0}, own = {.parent = &given};
    struct template_value values = template_from_json(context, variables, false);
    if (values.kind != VALUE_DICT) {
        template_fail(context, "the variables are not an object");
    }
    given.names = *values.dict;
    context->scope = &own;
    template_run(context, template->body);
    template_append(context, "", 0);
    context->out[context->out_bytes] = 0;
    return true;
}

bool chat_template_render_at(const struct chat_template *template, const json_t *variables,
                             const struct tm *now, char **text, size_t *bytes, struct error *err)
{
    struct template_context context = {.err = err, .now = now};
    bool ok = render(&context, template, variables);
    free_chunks(context.chunks);
    json_decref(context.json);
    if (!ok) {
        free(context.out);
        return false;
    }
    *text = context.out;
    *bytes = context.out_bytes;
    return true;
}

bool chat_template_render(const struct chat_template *template, const json_t *variables,
                          char **text, size_t *bytes, struct error *err)
{
    time_t seconds = time(NULL);
    struct tm now = {0};
    localtime_r(&seconds, &now);
    return chat_template_render_at(template, variables, &now, text, bytes, err);
}
