#include "engine/model/synthetic_values.h"

#include <math.h>

#include "engine/model/synthetic_blocks.h"

#define COMMON 0.55 /* size of the common direction, of the stream's behind a norm */
/* Of the residual stream's energy, which is 1 behind the embedding, by a layer's experts; and by
 * attention in the first layer. Attention adds less and less, or deep layers would see the context
 * alone: 1 / (1 + layer / ATTENTION_LAYERS) of the amplitude. */
#define EXPERTS_GROWTH 0.15
#define ATTENTION_GROWTH 0.45
#define ATTENTION_LAYERS 4.0
#define POSITION_SCORE 8.0  /* by how much a token's attention score prefers itself to far ones */
#define SLOWEST_TURN 0.005  /* radians a token of pairs that tell the position */
#define MOST_OF_A_HEAD 0.75 /* of a normalised head's energy, that may tell the position */
#define ATTENTION_GAIN 1.6  /* of the first layer's output matrix */
#define LOGIT 2.5           /* standard deviation of logits */
#define LOGIT_LIFT 9.0      /* of tokens that exist; others are lowered as much */
#define ROUTER_LOGIT 2.0    /* standard deviation of the router's */

/* The energy of the common component of the residual stream, a column, where the rest has 1. */
static double common_energy(void)
{
    return COMMON * COMMON / (1 - COMMON * COMMON);
}

/* The product of a normed vector and the common direction. */
static double common_product(const struct hparams *hparams)
{
    return COMMON * sqrt(hparams->hidden);
}

static double attention_share(uint32_t layer)
{
    return 1 / (1 + layer / ATTENTION_LAYERS);
}

/* Of the stream before a layer, a column, without the common component. */
static double stream_energy(uint32_t layer)
{
    double energy = 1;
    for (uint32_t i = 0; i < layer; i++) {
        double share = attention_share(i);
        energy += EXPERTS_GROWTH + ATTENTION_GROWTH * share * share;
    }
    return energy;
}

/* ---- matrices ---- */

static double turn(const struct hparams *hparams, uint32_t dims, uint32_t pair)
{
    return pow(hparams->rope_theta, -2.0 * pair / dims);
}

static uint32_t position_dims(const struct hparams *hparams, uint32_t dims)
{
    uint32_t pairs = 0;
    while (pairs < dims / 2 && turn(hparams, dims, pairs) > SLOWEST_TURN) {
        pairs++;
    }
    return 2 * pairs;
}

/* q and k in the dims that tell the position are `p` for every token, so that the score of a token
 * for itself is dims * p^2 * scale more than for one far away. */
static double position_value(const struct arch *arch, const struct hparams *h, uint32_t dims)
{
    bool latent = arch->attention == ATTENTION_LATENT;
    double head = latent ? h->nope_dim + h->rope_dim : h->head_dim;
    double n = position_dims(h, dims);
    if (arch->qk_norm == QK_NORM_NONE) {
        return sqrt(POSITION_SCORE * sqrt(head) / n);
    }
    double share = fmin(POSITION_SCORE / sqrt(head), MOST_OF_A_HEAD);
    return sqrt(share / (1 - share) * head * (1 - COMMON * COMMON) / n);
}

bool synthetic_values_is_common(const struct synthetic_values *values, const struct hparams *h,
                                uint64_t row)
{
    if (values->rotated == 0) {
        return row < values->n_common;
    }
    uint32_t pair = (uint32_t)(row % values->rotated) % (values->rotated / 2);
    return turn(h, values->rotated, pair) > SLOWEST_TURN;
}

struct synthetic_values synthetic_values_of(const struct arch *arch, const struct hparams *h,
                                            enum tensor_role role, uint32_t layer,
                                            uint32_t n_tokens)
{
    double product = common_product(h);
    struct synthetic_values values = {.deviation = 1 / sqrt(h->hidden), .reads_stream = true};
    switch (role) {
    case ROLE_TOKEN_EMBEDDING:
        values.deviation = 1;
        values.common = sqrt(common_energy() * h->hidden);
        values.n_common = h->vocabulary;
        break;
    case ROLE_OUTPUT:
        values.deviation *= LOGIT;
        values.common = LOGIT_LIFT / product;
        values.other = -values.common;
        values.n_common = n_tokens;
        break;
    case ROLE_ATTENTION_Q:
    case ROLE_ATTENTION_K:
        values.rotated = h->head_dim;
        values.common = position_value(arch, h, h->head_dim) / product;
        break;
    case ROLE_LATENT_Q_ROPE:
    case ROLE_LATENT_K_ROPE:
        values.rotated = h->rope_dim;
        values.common = position_value(arch, h, h->rope_dim) / product;
        if (role == ROLE_LATENT_Q_ROPE && h->q_rank > 0) { /* reads a latent vector */
            values = (struct synthetic_values){.deviation = 1 / sqrt(h->q_rank)};
        }
        break;
    case ROLE_LATENT_Q_NOPE:
        values.reads_stream = h->q_rank == 0;
        values.deviation = 1 / sqrt(h->q_rank > 0 ? h->q_rank : h->hidden);
        break;
    case ROLE_ATTENTION_OUTPUT:
        values.reads_stream = false;
        values.deviation =
            ATTENTION_GAIN * attention_share(layer) / sqrt((double)h->heads * h->value_dim);
        break;
    case ROLE_LATENT_K_B: /* transposed: what it multiplies with is the latent vector, too */
    case ROLE_LATENT_V_B:
        values.reads_stream = false;
        values.deviation = 1 / sqrt(h->kv_rank);
        break;
    default:
        break;
    }
    return values;
}

struct synthetic_values synthetic_values_of_ffn(const struct hparams *h, enum arch_ffn_kind kind,
                                                bool down)
{
    double width = kind == FFN_ROUTED ? h->expert_ffn : kind == FFN_DENSE ? h->ffn : h->shared_ffn;
    return (struct synthetic_values){.deviation = 1 / sqrt(down ? width : h->hidden),
                                     .reads_stream = !down};
}

/* ---- vectors and routers ---- */

/* About one; the first columns bring the common component back to COMMON, which the stream's growth
 * with the layers would drown. */
static void fill_norm(const struct hparams *h, bool of_stream, uint32_t layer, uint64_t cols,
                      uint64_t *state, float *values)
{
    double energy = stream_energy(layer), common = common_energy();
    double back = sqrt((energy + common) / (1 + common));
    for (uint64_t i = 0; i < cols; i++) {
        double near_one = 1 + 0.05 * synthetic_normal(state);
        values[i] = (float)(of_stream && i < SYNTHETIC_COMMON ? back : near_one);
    }
}

static void fill_router(const struct hparams *h, double popularity, uint64_t rows, uint64_t *state,
                        float *values)
{
    double constant = ROUTER_LOGIT * sqrt(popularity) / common_product(h);
    double deviation = ROUTER_LOGIT * sqrt((1 - popularity) / h->hidden);
    for (uint64_t row = 0; row < rows; row++, values += h->hidden) {
        double common = constant * synthetic_normal(state) / sqrt(SYNTHETIC_COMMON);
        for (uint64_t i = 0; i < h->hidden; i++) {
            bool first = i < SYNTHETIC_COMMON;
            double value = deviation * synthetic_normal(state);
            values[i] = (float)(first ? common * synthetic_sign(i) : value);
        }
    }
}

static double deviation_of(enum tensor_role role, const struct hparams *h)
{
    switch (role) {
    case ROLE_SHARED_ROUTER:
        return 1 / sqrt(h->hidden);
    case ROLE_ATTENTION_Q_BIAS:
    case ROLE_ATTENTION_K_BIAS:
    case ROLE_EXPERT_GATE_BIAS:
    case ROLE_EXPERT_UP_BIAS:
    case ROLE_ATTENTION_SINKS:
        return 0.1;
    default:
        return 0.02;
    }
}

void synthetic_values_fill(const struct hparams *h, enum tensor_role role, uint32_t layer,
                           double popularity, uint64_t rows, uint64_t cols, uint64_t seed,
                           float *values)
{
    double deviation = deviation_of(role, h);
    switch (role) {
    case ROLE_ATTENTION_NORM:
    case ROLE_FFN_NORM:
        fill_norm(h, true, layer, cols, &seed, values);
        break;
    case ROLE_OUTPUT_NORM:
        fill_norm(h, true, h->layers, cols, &seed, values);
        break;
    case ROLE_ATTENTION_Q_NORM:
    case ROLE_ATTENTION_K_NORM:
    case ROLE_LATENT_Q_A_NORM:
    case ROLE_LATENT_KV_A_NORM:
        fill_norm(h, false, layer, cols, &seed, values);
        break;
    case ROLE_ROUTER:
        fill_router(h, popularity, rows, &seed, values);
        break;
    default:
        for (uint64_t i = 0; i < rows * cols; i++) {
            values[i] = (float)(deviation * synthetic_normal(&seed));
        }
    }
}
