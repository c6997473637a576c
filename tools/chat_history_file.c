/* Conversations as files (chat_history.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/text/json_values.h"
#include "tools/chat_history.h"
#include "tools/text_buffer.h"

#define MAX_FILE_BYTES (64u << 20)

static bool fail(struct moxie_error *err, const char *path, const char *what)
{
    snprintf(err->text, sizeof(err->text), "%.300s: %s", path, what);
    return false;
}

/* Something that a rename would replace by a file: a folder, a device. */
static bool is_other_than_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

static bool write_list(const json_t *list, const char *temporary)
{
    FILE *file = fopen(temporary, "w");
    if (!file) {
        return false;
    }
    bool ok = json_dumpf(list, file, JSON_INDENT(2) | JSON_ENSURE_ASCII) == 0 &&
              fputc('\n', file) != EOF && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int reason = errno;
    ok = fclose(file) == 0 && ok;
    if (!ok && reason) {
        errno = reason;
    }
    return ok;
}

bool chat_history_save(const struct chat_history *history, const char *path,
                       struct moxie_error *err)
{
    char *temporary = NULL;
    if (is_other_than_file(path)) {
        return fail(err, path, "is not a file; name another one to save to");
    }
    json_t *list = chat_history_json(history);
    if (!list || asprintf(&temporary, "%s.part", path) < 0) {
        json_decref(list);
        return fail(err, path,
                    "not enough memory to save the conversation, or its text is no UTF-8");
    }
    errno = 0;
    bool ok = write_list(list, temporary) && rename(temporary, path) == 0;
    if (!ok) {
        fail(err, path, strerror(errno ? errno : EIO));
        unlink(temporary);
    }
    free(temporary);
    json_decref(list);
    return ok;
}

/* The text of a regular file; the file is opened so that a pipe without a writer does not block. */
static bool read_text(const char *path, struct text_buffer *text, struct moxie_error *err)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        fail(err, path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        close(fd);
        return fail(err, path, "is not a file");
    }
    FILE *file = fdopen(fd, "r");
    if (!file) {
        close(fd);
        return fail(err, path, strerror(errno));
    }
    enum text_buffer_read read = text_buffer_read(text, file, MAX_FILE_BYTES);
    fclose(file);
    return read == TEXT_READ ||
           fail(err, path,
                read == TEXT_TOO_LONG ? "is longer than 64 MiB, too long for a conversation"
                                      : "cannot be read");
}

/* A call of tools, or what one answered. */
static bool is_whole(const json_t *object, const char *role)
{
    return role && (strcmp(role, "tool") == 0 ||
                    (strcmp(role, "assistant") == 0 &&
                     json_array_size(json_object_get(object, "tool_calls")) > 0));
}

/* What may not follow the last message: NULL if this role may. */
static const char *out_of_turn(const struct chat_history *history, const char *role)
{
    const struct chat_message *last = history->n ? &history->messages[history->n - 1]
                                                 : &(struct chat_message){.role = CHAT_SYSTEM};
    bool is_tool = strcmp(role, "tool") == 0, is_answer = strcmp(role, "assistant") == 0;
    if (last->role == CHAT_ASSISTANT && last->whole) {
        return is_tool ? NULL : "must be of the tool that was called";
    }
    if (last->role == CHAT_TOOL) {
        return is_tool || is_answer ? NULL
                                    : "must be of the assistant or a tool: the question has no "
                                      "answer yet";
    }
    if (last->role == CHAT_USER) {
        return is_answer ? NULL : "must be of the assistant: questions and answers take turns";
    }
    return strcmp(role, "user") == 0 ? NULL
                                     : "must be of the user: questions and answers take turns";
}

static const char *add_message(struct chat_history *history, json_t *object, enum chat_role role)
{
    const char *content = json_string_value(json_object_get(object, "content"));
    const json_t *thought = json_object_get(object, "reasoning_content");
    if (!content) {
        return "must have a \"role\" and a \"content\" that are texts";
    }
    if (thought && !json_is_null(thought) && !json_is_string(thought)) {
        return "has a \"reasoning_content\" that is no text";
    }
    return chat_history_add(history, role, content, json_string_value(thought))
               ? NULL
               : "is too much for the memory";
}

/* The message at position `at` of the list, whose predecessor is the last of the history. */
static bool add_from_json(struct chat_history *history, json_t *object, size_t at, const char *path,
                          struct moxie_error *err)
{
    const char *role = json_string_value(json_object_get(object, "role"));
    bool whole = is_whole(object, role);
    bool is_system = role && at == 0 && strcmp(role, "system") == 0;
    const char *what = !json_is_object(object) || !role
                           ? "must have a \"role\" and a \"content\" that are texts"
                       : is_system ? NULL
                                   : out_of_turn(history, role);
    if (!what && whole) {
        enum chat_role kind = strcmp(role, "tool") == 0 ? CHAT_TOOL : CHAT_ASSISTANT;
        what = chat_history_add_whole(history, kind, object) ? NULL : "is too much for the memory";
    } else if (!what) {
        what = add_message(history, object,
                           is_system                   ? CHAT_SYSTEM
                           : strcmp(role, "user") == 0 ? CHAT_USER
                                                       : CHAT_ASSISTANT);
    }
    if (what) {
        snprintf(err->text, sizeof(err->text), "%.300s: message %zu %s", path, at + 1, what);
    }
    return !what;
}

static bool from_json(struct chat_history *history, const json_t *list, const char *path,
                      struct moxie_error *err)
{
    size_t at;
    json_t *object;
    if (!json_is_array(list)) {
        return fail(err, path, "is not a conversation: a JSON list of messages is expected");
    }
    json_array_foreach(list, at, object)
    {
        if (!add_from_json(history, object, at, path, err)) {
            return false;
        }
    }
    const struct chat_message *last = history->n ? &history->messages[history->n - 1] : NULL;
    return !last || last->role == CHAT_SYSTEM || (last->role == CHAT_ASSISTANT && !last->whole) ||
           fail(err, path, "ends with a question that has no answer");
}

bool chat_history_load(struct chat_history *history, const char *path, struct moxie_error *err)
{
    struct text_buffer text = {0};
    struct chat_history loaded = {0};
    json_error_t where;
    json_t *list = NULL;
    bool ok = read_text(path, &text, err);
    if (ok && json_values_most(text_buffer_text(&text), text.n) > JSON_VALUES_MAX) {
        ok = fail(err, path, "has more than a million values, too many for a conversation");
    }
    if (ok) {
        list = json_loadb(text_buffer_text(&text), text.n, JSON_REJECT_DUPLICATES, &where);
        if (!list) {
            snprintf(err->text, sizeof(err->text), "%.300s is not JSON: %.100s (line %d)", path,
                     where.text, where.line);
        }
        ok = list && from_json(&loaded, list, path, err);
    }
    if (ok) {
        struct chat_history before = *history;
        *history = loaded;
        loaded = before;
    }
    chat_history_free(&loaded);
    json_decref(list);
    text_buffer_free(&text);
    return ok;
}
