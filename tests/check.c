#include "tests/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char temp_dir[64];

static void remove_temp_dir(void)
{
    DIR *folder = opendir(temp_dir);
    if (folder) {
        for (struct dirent *entry; (entry = readdir(folder));) {
            unlinkat(dirfd(folder), entry->d_name, 0);
        }
        closedir(folder);
    }
    rmdir(temp_dir);
}

const char *check_temp_dir(void)
{
    if (!temp_dir[0]) {
        strcpy(temp_dir, "/tmp/moxie-test-XXXXXX");
        if (!mkdtemp(temp_dir)) {
            abort();
        }
        atexit(remove_temp_dir);
    }
    return temp_dir;
}

const char *check_path(const char *folder, const char *name)
{
    static struct kept {
        struct kept *next;
        char path[];
    } * all; /* so that none counts as a leak */
    size_t bytes = strlen(folder) + strlen(name) + 2;
    struct kept *kept = malloc(sizeof(*kept) + bytes);
    snprintf(kept->path, bytes, "%s/%s", folder, name);
    kept->next = all;
    all = kept;
    return kept->path;
}

const char *check_source_path(const char *name)
{
    return check_path(SOURCE_ROOT, name);
}

const char *check_shared_path(const char *name)
{
    const char *path = check_path(SOURCE_ROOT "/../shared", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

char *check_read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        return NULL;
    }
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *data = malloc((size_t)size + 1);
    if (data && fread(data, 1, (size_t)size, file) != (size_t)size) {
        free(data);
        data = NULL;
    }
    fclose(file);
    if (data) {
        data[size] = 0;
        if (bytes) {
            *bytes = (size_t)size;
        }
    }
    return data;
}

bool check_write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    if (!file) {
        return false;
    }
    bool ok = fwrite(data, 1, bytes, file) == bytes;
    return fclose(file) == 0 && ok;
}
