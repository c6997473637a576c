#include "tests/check.h"

#include <assert.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t check_random_u64(struct check_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

float check_random_float(struct check_random *random, float low, float high)
{
    float unit = (float)(check_random_u64(random) >> 40) * 0x1p-24f;
    return low + (high - low) * unit;
}

uint32_t check_random_below(struct check_random *random, uint32_t n)
{
    return (uint32_t)(check_random_u64(random) % n);
}

void check_fill(struct check_random *random, enum check_fill fill, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        values[i] = check_random_float(random, -1, 1);
        if (fill == CHECK_SIGNS) {
            values[i] = (i % 2 ? -1.0f : 1.0f) + values[i] * 0.01f;
        } else if (fill == CHECK_TINY) {
            values[i] *= 1e-6f;
        }
    }
    if (fill == CHECK_OUTLIER && n > 0) {
        values[check_random_below(random, (uint32_t)n)] *= 1000;
    }
}

double check_nmse(const float *a, const float *b, size_t n)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) && isfinite(b[i])) {
            return INFINITY;
        }
        double difference = (double)a[i] - b[i];
        error += difference * difference;
        power += (double)b[i] * b[i];
    }
    assert(power > 0);
    return error / power;
}

double check_worst(const float *a, const float *b, size_t n, size_t *where)
{
    double power = 0, worst = -1;
    for (size_t i = 0; i < n; i++) {
        power += (double)b[i] * b[i];
    }
    double rms = sqrt(power / (double)n);
    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)a[i] - b[i]);
        if (!(difference <= worst)) { /* NaN counts as worst */
            worst = difference;
            if (where) {
                *where = i;
            }
        }
    }
    return worst / rms;
}

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
