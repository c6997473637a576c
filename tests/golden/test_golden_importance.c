/* Activation statistics of real runs: the sums are those of a plain computation where a test can
 * make one, the counts of experts are the router's choices, every family names all its matrices;
 * and what they are for: with them, and with experts' types by use, the demo model loses less in
 * few bits. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/model/importance_weights.h"
#include "tests/check.h"
#include "tests/golden/golden.h"

struct family {
    char name[32];
};
static struct family families[] = {
    {"qwen3moe_mixed"}, {"qwen3_tied"}, {"llama_scaled"},     {"mixtral"},     {"qwen2moe"},
    {"olmoe"},          {"gptoss"},     {"deepseek_v2_lite"}, {"deepseek_v2"}, {"deepseek_v3"},
};
#define N_FAMILIES (sizeof(families) / sizeof(families[0]))

static struct moxie_session *observing(struct moxie_model *model)
{
    struct moxie_error err;
    struct moxie_session_options options = moxie_session_defaults();
    options.kv_type = MOXIE_KV_F32;
    options.keep_routes = true;
    options.observe = true;
    struct moxie_session *session = moxie_session_create(model, &options, &err);
    cr_assert_not_null(session, "%s", err.text);
    return session;
}

static void save(struct moxie_session *session, const char *path, struct importance *importance)
{
    struct moxie_error text;
    struct error err;
    cr_assert(moxie_save_importance(session, path, "ids", 3, 5, &text), "%s", text.text);
    cr_assert(importance_read(importance, path, &err), "%s", err.text);
    cr_expect_str_eq(importance->dataset, "ids");
    cr_expect(importance->chunk_count == 3 && importance->chunk_size == 5);
}

static const char *file_path(void)
{
    return check_path(check_temp_dir(), "sums.gguf");
}

static const struct importance_entry *find(const struct importance *importance, const char *name)
{
    const struct importance_entry *entry = importance_find(importance, name);
    cr_assert_not_null(entry, "%s", name);
    return entry;
}

/* ---- against a plain computation ---- */

static float *load_f32(const struct model_file *file, uint32_t role, uint32_t layer,
                       struct tensor_record *record)
{
    struct error err;
    cr_assert(model_file_find_tensor(file, role, layer, record));
    cr_assert_eq(record->type, DTYPE_F32);
    float *values = malloc(record->raw_bytes);
    cr_assert(model_file_load(file, record, values, &err), "%s", err.text);
    return values;
}

/* Sums of squares of norm(embedding) over the ids: what layer 0's attention is multiplied with. */
static float *plain_sums(const char *path, const uint32_t *ids, size_t n, double epsilon)
{
    struct model_file file;
    struct error err;
    struct tensor_record table_record, norm_record;
    cr_assert(model_file_open(&file, path, &err), "%s", err.text);
    float *table = load_f32(&file, ROLE_TOKEN_EMBEDDING, MODEL_FILE_NO_LAYER, &table_record);
    float *norm = load_f32(&file, ROLE_ATTENTION_NORM, 0, &norm_record);
    uint64_t hidden = table_record.cols;
    uint64_t stride = dtype_row_stride(dtype_info(DTYPE_F32), 0, hidden) / sizeof(float);
    float *sums = calloc(hidden, sizeof(float));
    for (size_t t = 0; t < n; t++) {
        const float *x = table + ids[t] * stride;
        double square = 0;
        for (uint64_t c = 0; c < hidden; c++) {
            square += (double)x[c] * (double)x[c];
        }
        double scale = 1 / sqrt(square / (double)hidden + epsilon);
        for (uint64_t c = 0; c < hidden; c++) {
            double y = (double)x[c] * scale * (double)norm[c];
            sums[c] += (float)(y * y);
        }
    }
    free(table);
    free(norm);
    model_file_close(&file);
    return sums;
}

Test(golden_importance, sums_of_the_first_layer)
{
    json_t *reference;
    size_t n;
    struct importance importance;
    golden_device(); /* skip before any work is done */
    const char *path = golden_family("qwen3moe_mixed", "f32", &reference);
    double epsilon =
        json_number_value(json_object_get(json_object_get(reference, "config"), "rms_norm_eps"));
    uint32_t *ids = golden_ids(json_object_get(reference, "ids"), &n);
    struct moxie_model *model = golden_open(path);
    struct moxie_session *session = observing(model);
    golden_eval_parts(session, ids, n, n / 2 + 1);
    save(session, file_path(), &importance);
    float *expected = plain_sums(path, ids, n, epsilon);
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight",
                                        "blk.0.attn_v.weight"};
    for (size_t i = 0; i < 3; i++) {
        const struct importance_entry *entry = find(&importance, names[i]);
        cr_expect(entry->n_counts == 1 && entry->counts[0] == (float)n);
        double nmse = check_nmse(entry->sums, expected, entry->n_values);
        cr_expect_leq(nmse, 1e-10, "%s: NMSE %g", names[i], nmse);
    }
    free(expected);
    free(ids);
    importance_free(&importance);
    moxie_session_destroy(&session);
    moxie_close(&model);
    json_decref(reference);
}

/* ---- of every family ---- */

/* Adds up the choices of the last evaluation. */
static void add_routes(struct moxie_session *session, const struct moxie_model_info *info,
                       float *chosen)
{
    for (uint32_t layer = 0; info->experts > 0 && layer < info->layers; layer++) {
        const uint32_t *ids;
        const float *weights;
        uint32_t n = moxie_routes(session, layer, &ids, &weights) * info->experts_per_token;
        for (uint32_t i = 0; i < n; i++) {
            chosen[layer * info->experts + ids[i]] += 1;
        }
    }
}

static void expect_counts(struct moxie_session *session, const struct moxie_model_info *info,
                          const struct importance *importance, const float *chosen)
{
    float *counts = malloc((info->experts + 1) * sizeof(float));
    for (uint32_t layer = 0; info->experts > 0 && layer < info->layers; layer++) {
        const float *expected = chosen + layer * info->experts;
        char name[64];
        struct moxie_error err;
        cr_assert(moxie_expert_counts(session, layer, counts, &err), "%s", err.text);
        cr_expect_arr_eq(counts, expected, info->experts * sizeof(float), "layer %u", layer);
        static const char *const parts[] = {"gate", "up", "down"};
        for (uint32_t i = 0; i < 3; i++) {
            snprintf(name, sizeof(name), "blk.%u.ffn_%s_exps.weight", layer, parts[i]);
            const struct importance_entry *entry = importance_find(importance, name);
            float sum = 0;
            for (uint32_t expert = 0; expert < info->experts; expert++) {
                sum += expected[expert];
            }
            cr_assert_eq(entry != NULL, sum > 0, "%s", name);
            if (entry) {
                cr_assert_eq(entry->n_counts, info->experts);
                cr_expect_arr_eq(entry->counts, expected, info->experts * sizeof(float));
            }
        }
    }
    free(counts);
}

/* The shared expert takes every token, so its input's sums are those of the routed experts together
 * over top_k. */
static void expect_shared(const struct moxie_model_info *info, const struct importance *importance)
{
    for (uint32_t layer = 0; layer < info->layers; layer++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%u.ffn_gate_shexp.weight", layer);
        const struct importance_entry *shared = importance_find(importance, name);
        if (!shared) {
            continue;
        }
        snprintf(name, sizeof(name), "blk.%u.ffn_up_exps.weight", layer);
        const struct importance_entry *routed = find(importance, name);
        float *sums = calloc(shared->n_values, sizeof(float));
        for (uint64_t i = 0; i < routed->n_values; i++) {
            sums[i % shared->n_values] += routed->sums[i] / (float)info->experts_per_token;
        }
        double nmse = check_nmse(sums, shared->sums, shared->n_values);
        cr_expect_leq(nmse, 1e-10, "layer %u: NMSE %g", layer, nmse);
        free(sums);
    }
}

static void expect_all_named(const struct importance *importance, const char *path)
{
    struct error err;
    struct importance_weights weights;
    struct source *source = source_open(path, &err);
    cr_assert_not_null(source, "%s", err.text);
    cr_assert(importance_weights_make(&weights, importance, source, &err), "%s", err.text);
    cr_expect_eq(weights.n_without, 0, "%s has none", weights.first_without);
    cr_expect_gt(weights.n_matrices, 5 * source->hparams.layers);
    importance_weights_free(&weights);
    source_close(&source);
}

static void expect_same(const struct importance *a, const struct importance *b)
{
    cr_assert_eq(a->n_entries, b->n_entries);
    for (uint64_t i = 0; i < a->n_entries; i++) {
        const struct importance_entry *x = &a->entries[i], *y = &b->entries[i];
        cr_assert_str_eq(x->name, y->name);
        cr_assert(x->n_values == y->n_values && x->n_counts == y->n_counts);
        cr_expect_arr_eq(x->counts, y->counts, x->n_counts * sizeof(float), "%s", x->name);
        double nmse = check_nmse(x->sums, y->sums, x->n_values);
        cr_expect_leq(nmse, 1e-7, "%s: NMSE %g", x->name, nmse);
    }
}

ParameterizedTestParameters(golden_importance, every_family)
{
    return cr_make_param_array(struct family, families, N_FAMILIES);
}

ParameterizedTest(struct family *family, golden_importance, every_family, .timeout = 300)
{
    json_t *reference;
    size_t n;
    struct moxie_model_info info;
    struct importance by_chunk, by_token;
    golden_device(); /* skip before any work is done */
    const char *path = golden_family(family->name, "f32", &reference);
    uint32_t *ids = golden_ids(json_object_get(reference, "ids"), &n);
    struct moxie_model *model = golden_open(path);
    moxie_model_info(model, &info);
    float *chosen = calloc((size_t)info.layers * info.experts + 1, sizeof(float));

    struct moxie_session *session = observing(model);
    golden_eval(session, ids, n);
    add_routes(session, &info, chosen);
    save(session, file_path(), &by_chunk);
    expect_counts(session, &info, &by_chunk, chosen);
    expect_shared(&info, &by_chunk);
    expect_all_named(&by_chunk, path);
    moxie_session_destroy(&session);

    session = observing(model);
    golden_eval_parts(session, ids, n, 1);
    save(session, file_path(), &by_token);
    expect_same(&by_token, &by_chunk);
    moxie_session_destroy(&session);

    importance_free(&by_chunk);
    importance_free(&by_token);
    free(chosen);
    free(ids);
    moxie_close(&model);
    json_decref(reference);
}

Test(golden_importance, rewinding_does_not_forget)
{
    struct moxie_error err;
    struct moxie_model_info info;
    json_t *reference;
    size_t n;
    golden_cpu();
    struct moxie_model *model = golden_open(golden_family("olmoe", "f32", &reference));
    moxie_model_info(model, &info);
    uint32_t *ids = golden_ids(json_object_get(reference, "ids"), &n);
    float *once = malloc(info.experts * sizeof(float)),
          *twice = malloc(info.experts * sizeof(float));
    struct moxie_session *session = observing(model);
    golden_eval(session, ids, n);
    cr_assert(moxie_expert_counts(session, 1, once, &err));
    moxie_rewind(session, 0);
    golden_eval(session, ids, n);
    cr_assert(moxie_expert_counts(session, 1, twice, &err));
    for (uint32_t i = 0; i < info.experts; i++) {
        cr_expect_eq(twice[i], 2 * once[i], "expert %u", i);
    }
    moxie_session_destroy(&session);
    moxie_close(&model);
    free(once);
    free(twice);
    free(ids);
    json_decref(reference);
}

/* ---- what it is for ---- */

/* Log-probabilities of every token after each of ids, (n, vocabulary). */
static double *log_probabilities(const char *path, const uint32_t *ids, size_t n)
{
    struct moxie_model *model = golden_open(path);
    uint32_t vocabulary = golden_vocabulary(model);
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 0);
    double *result = malloc(n * vocabulary * sizeof(double));
    for (size_t i = 0; i < n; i++) {
        golden_eval(session, &ids[i], 1);
        const float *logits = moxie_logits(session);
        double total = 0;
        for (uint32_t v = 0; v < vocabulary; v++) {
            total += exp((double)logits[v]);
        }
        for (uint32_t v = 0; v < vocabulary; v++) {
            result[i * vocabulary + v] = (double)logits[v] - log(total);
        }
    }
    moxie_session_destroy(&session);
    moxie_close(&model);
    return result;
}

/* Mean Kullback-Leibler divergence of b from a. */
static double divergence(const double *a, const double *b, size_t n, size_t vocabulary)
{
    double sum = 0;
    for (size_t i = 0; i < n * vocabulary; i++) {
        sum += exp(a[i]) * (a[i] - b[i]);
    }
    return sum / (double)n;
}

static double perplexity(const double *logs, const uint32_t *ids, size_t n, size_t vocabulary)
{
    double sum = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        sum -= logs[i * vocabulary + ids[i + 1]];
    }
    return exp(sum / (double)(n - 1));
}

static const char *quantize(const char *from, const char *options)
{
    char command[8192];
    const char *path = check_path(check_temp_dir(), "quantized.moxie");
    snprintf(command, sizeof(command), "'%s' quantize '%s' '%s' %s > /dev/null", MOXIE_PROGRAM,
             from, path, options);
    cr_assert_eq(system(command), 0, "%s", command);
    return path;
}

/* Statistics from one half of a text, what is lost on the other. */
Test(golden_importance, the_demo_model_loses_less, .timeout = 300)
{
    golden_cpu();
    json_t *reference = golden_tiny_reference();
    size_t n;
    uint32_t *ids =
        golden_ids(json_object_get(json_object_get(reference, "perplexity"), "ids"), &n);
    const char *exact_path = golden_tiny("f32");
    struct moxie_model *model = golden_open(exact_path);
    size_t vocabulary = golden_vocabulary(model), half = n / 2;
    struct moxie_session *session = observing(model);
    struct moxie_error err;
    golden_eval(session, ids, half);
    cr_assert(moxie_save_importance(session, file_path(), "half", 1, (uint32_t)half, &err));
    moxie_session_destroy(&session);
    moxie_close(&model);

    double *exact = log_probabilities(exact_path, ids + half, n - half);
    /* The mix q2_k gives down more bits by itself, which for this model, whose training made all
     * experts work alike, is as good: divergences differ by as little as the rounding of kernels
     * does, perplexity is what gains. q3_k gives all the same. */
    static const char *const types[] = {"q2_k", "q3_k"};
    static const double bounds[] = {1.05, 0.95};
    printf("type  statistics  experts by use      bytes  KL divergence  perplexity (f32: %.2f)\n",
           perplexity(exact, ids + half, n - half, vocabulary));
    for (size_t t = 0; t < 2; t++) {
        double lost[3], perplexities[3];
        off_t bytes[3];
        for (size_t i = 0; i < 3; i++) {
            char options[4096];
            struct stat status;
            int used = snprintf(options, sizeof(options), "--type %s", types[t]);
            used += i < 1 ? 0 : snprintf(options + used, 2048, " --imatrix '%s'", file_path());
            used += i < 2 ? 0 : snprintf(options + used, 64, " --expert-budget 100%%");
            const char *path = quantize(exact_path, options);
            cr_assert_eq(stat(path, &status), 0);
            double *logs = log_probabilities(path, ids + half, n - half);
            lost[i] = divergence(exact, logs, n - half, vocabulary);
            perplexities[i] = perplexity(logs, ids + half, n - half, vocabulary);
            bytes[i] = status.st_size;
            printf("%-5s %10s  %14s  %9lld  %13.5f  %10.3f\n", types[t], i > 0 ? "yes" : "no",
                   i > 1 ? "yes" : "no", (long long)bytes[i], lost[i], perplexities[i]);
            free(logs);
        }
        cr_expect_lt(lost[1], bounds[t] * lost[0], "%s: statistics do not help", types[t]);
        cr_expect(t == 1 || perplexities[1] < 0.99 * perplexities[0],
                  "%s: statistics do not help in perplexity", types[t]);
        cr_expect_leq(bytes[2], bytes[0], "%s: the budget is exceeded", types[t]);
        cr_expect_lt(lost[2], bounds[t] * lost[1], "%s: types by use do not help", types[t]);
    }
    free(exact);
    free(ids);
    json_decref(reference);
}
