#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "format/dtype.h"
#include "tools/bench.h"
#include "tools/tool.h"

#define MAX_MEASURED 64

static struct measured {
    char device[32];
    uint32_t threads;
    struct bench_peaks peaks;
} measured[MAX_MEASURED];
static uint32_t n_measured;

static void measure(const struct bench_options *options, struct measured *m, const char *device)
{
    struct moxie_options engine = moxie_options_defaults();
    char folder[CACHE_FOLDER_BYTES];
    engine.cache_folder = cache_folder(folder);
    engine.device = device;
    engine.threads = m->threads;
    engine.device_memory = options->device_memory;
    progress_line("measuring what %s can do", device);
    m->peaks.known =
        moxie_device_peaks(&engine, &m->peaks.peaks, m->peaks.device, &m->peaks.failure);
    progress_clear();
}

const struct bench_peaks *bench_peaks_of(const struct bench_options *options, const char *device,
                                         uint32_t threads)
{
    static const struct bench_peaks unknown;
    if (options->no_peaks && !options->peaks) {
        return &unknown;
    }
    for (uint32_t i = 0; i < n_measured; i++) {
        if (strcmp(measured[i].device, device) == 0 && measured[i].threads == threads) {
            return &measured[i].peaks;
        }
    }
    if (n_measured == MAX_MEASURED) {
        return &unknown;
    }
    struct measured *m = &measured[n_measured++];
    snprintf(m->device, sizeof(m->device), "%s", device);
    m->threads = threads;
    measure(options, m, device);
    return &m->peaks;
}

double bench_peaks_matrix(const struct moxie_peaks *peaks, bool cpu, const char *type,
                          const char **form)
{
    const struct dtype_info *info = dtype_find(type); /* NULL: a mix, of blocks */
    bool floats = info && info->block_elements == 1;
    struct {
        const char *name;
        double rate;
        bool used;
    } forms[] = {{"f32", peaks->matrix_f32, !cpu || floats},
                 {"f16", peaks->matrix_f16, !cpu},
                 {"int8", peaks->matrix_int8, !cpu || !floats}};
    double best = 0;
    for (uint32_t i = 0; i < 3; i++) {
        if (forms[i].used && forms[i].rate > best) {
            best = forms[i].rate;
            if (form) {
                *form = forms[i].name;
            }
        }
    }
    return best;
}

/* One number of the struct: how it is called, what it is counted in, and by how much it is divided
 * for people. */
struct quantity {
    const char *key, *text, *unit;
    double scale;
    double value;
};

#define MAX_QUANTITIES 16

static uint32_t list_quantities(const struct moxie_peaks *p, struct quantity q[MAX_QUANTITIES])
{
    const struct quantity all[] = {
        {"dispatch_seconds", "empty dispatch (CPU: phase)", "us", 1e-6, p->dispatch_seconds},
        {"step_seconds", "dependent step", "us", 1e-6, p->step_seconds},
        {"submit_seconds", "submit to seen done", "us", 1e-6, p->submit_seconds},
        {"host_read", "host memory read by shaders", "GB/s", 1e9, p->host_read},
        {"copy_to_pageable", "copy to the device, pageable", "GB/s", 1e9, p->copy_pageable[0]},
        {"copy_from_pageable", "copy from the device, pageable", "GB/s", 1e9, p->copy_pageable[1]},
        {"copy_to_pinned", "copy to the device, pinned", "GB/s", 1e9, p->copy_pinned[0]},
        {"copy_from_pinned", "copy from the device, pinned", "GB/s", 1e9, p->copy_pinned[1]},
        {"copy_to_imported", "copy to the device, imported", "GB/s", 1e9, p->copy_imported[0]},
        {"copy_from_imported", "copy from the device, imported", "GB/s", 1e9, p->copy_imported[1]},
        {"matrix_f32", "products, f32", "Gop/s", 1e9, p->matrix_f32},
        {"matrix_f16", "products, f16", "Gop/s", 1e9, p->matrix_f16},
        {"matrix_int8", "products, int8", "Gop/s", 1e9, p->matrix_int8},
    };
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].value > 0) {
            q[n++] = all[i];
        }
    }
    return n;
}

static void print_json(const struct bench_peaks *peaks, const struct quantity *q, uint32_t n)
{
    json_t *read = json_array();
    for (uint32_t i = 0; i < peaks->peaks.n_read; i++) {
        json_array_append_new(
            read, json_pack("{s:I, s:f}", "bytes", (json_int_t)peaks->peaks.read[i].bytes,
                            "bytes_per_second", peaks->peaks.read[i].bytes_per_second));
    }
    json_t *row =
        json_pack("{s:s, s:s, s:o}", "kind", "peaks", "device", peaks->device, "read", read);
    for (uint32_t i = 0; i < n; i++) {
        json_object_set_new(row, q[i].key, json_real(q[i].value));
    }
    json_dumpf(row, stdout, JSON_ENSURE_ASCII | JSON_COMPACT);
    printf("\n");
    json_decref(row);
}

static void print_csv(const struct bench_peaks *peaks, const struct quantity *q, uint32_t n)
{
    static bool head;
    if (!head) {
        printf("device,peak,value,unit\n");
        head = true;
    }
    for (uint32_t i = 0; i < peaks->peaks.n_read; i++) {
        printf("\"%s\",read_%" PRIu64 ",%.6g,bytes/s\n", peaks->device, peaks->peaks.read[i].bytes,
               peaks->peaks.read[i].bytes_per_second);
    }
    for (uint32_t i = 0; i < n; i++) {
        const char *unit = strcmp(q[i].unit, "us") == 0     ? "s"
                           : strcmp(q[i].unit, "GB/s") == 0 ? "bytes/s"
                                                            : "op/s";
        printf("\"%s\",%s,%.6g,%s\n", peaks->device, q[i].key, q[i].value, unit);
    }
}

static void print_md(const struct bench_peaks *peaks, const struct quantity *q, uint32_t n)
{
    printf("| %-36s | %10s |\n| ------------------------------------ | ---------: |\n",
           peaks->device, "at most");
    for (uint32_t i = 0; i < peaks->peaks.n_read; i++) {
        char size[32], text[64];
        snprintf(text, sizeof(text), "read, buffer of %s",
                 bytes_text(peaks->peaks.read[i].bytes, size));
        printf("| %-36s | %6.1f GB/s |\n", text, peaks->peaks.read[i].bytes_per_second * 1e-9);
    }
    for (uint32_t i = 0; i < n; i++) {
        printf("| %-36s | %6.*f %s |\n", q[i].text, q[i].value / q[i].scale < 100 ? 2 : 0,
               q[i].value / q[i].scale, q[i].unit);
    }
    printf("\n");
}

void bench_peaks_print(const struct bench_options *options, const struct bench_peaks *peaks)
{
    struct quantity q[MAX_QUANTITIES];
    if (!peaks->known) {
        return;
    }
    uint32_t n = list_quantities(&peaks->peaks, q);
    switch (options->format) {
    case BENCH_MD:
        print_md(peaks, q, n);
        break;
    case BENCH_CSV:
        print_csv(peaks, q, n);
        break;
    case BENCH_JSONL:
        print_json(peaks, q, n);
        break;
    }
    fflush(stdout);
}
