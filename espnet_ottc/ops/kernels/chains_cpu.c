/* Searches along chains of states on the CPU in float32: the best path, and how probable each state is.
 *
 * A chain is read from left to right: a frame stays in its state j, comes from j - 1, or takes one of the
 * skips that end in j.  Utterances are independent and run in parallel.  Scores are taken relative to the
 * best state of each frame, so that long utterances lose no digits.  Memory: where T S is small everything is
 * kept; else states are kept every sqrt(T) frames, and the frames between are computed once more.
 *
 * Sums may be over the paths within a band alone; what they give says how much of them meets its edges.
 */

#include <stdlib.h>
#include <string.h>

#include "fast_math.h"

#define LOG_ZERO (-1e30f) /* stands for -inf, so that differences are never NaN */
#define IMPOSSIBLE (-1e29f)
#define STAY 0
#define MOVE 1
#define SKIP 2 /* and further skips into the same state count up */

typedef struct {
    int64_t utterances, columns, levels;
    const int64_t *frame_starts; /* (B + 1,) */
    const int64_t *state_starts; /* (B + 1,) */
    const int64_t *skip_starts;  /* (B + 1,) */
    const int64_t *mark_starts;  /* (B + 1,), or NULL without marks */
    const float *scores;         /* (all T, columns) */
    const int32_t *column;       /* (all S,) of each state, in [0, columns) */
    const float *stay;           /* (all S,) from j to j; IMPOSSIBLE and below: not allowed */
    const float *move;           /* (all S,) from j - 1 to j */
    const float *enter;          /* (all S,) of the first frame */
    const float *leave;          /* (all S,) after the last frame */
    const int32_t *skip_source;  /* (all K,) states of the utterance */
    const int32_t *skip_target;  /* (all K,), rising; at most 254 are the same */
    const float *skip_score;     /* (all K,) */
    const float *arrival;        /* (all T,) what sums gain where a path comes to an entrance in a frame */
    const float *entrance;       /* (all S,) 1 for an entrance, else 0 */
    const int32_t *mark;         /* (all M,) states of the utterance, in [0, S] */
    const double *level;         /* (levels,) in (0, 1) */
    const int32_t *low;          /* (all T,) sums take states of [low, high) of each frame, neither of which */
    const int32_t *high;         /* falls within an utterance; both NULL: all states */
    float scale;                 /* of the scores */
    int32_t threads;
    int64_t kept_cells;          /* of one utterance: how many states of how many frames may be kept */
    int32_t out_of_memory;
    /* results */
    double *total;     /* (B,) log-score; -inf without a path */
    int32_t *path;     /* (all T,) state of each frame; -1 without a path.  Of the best path only. */
    float *occupancy;  /* (all T, columns) probability of each column; or NULL */
    double *quantile;  /* (all M, levels) positions on the frame axis */
    double *edge;      /* (B,) the largest probability of a frame's first or last state of [low, high), where
                          there are states beyond; or NULL */
} chain_batch;

/* What the caller's must have: a library of another version would read beyond it. */
const int64_t structure_bytes = sizeof(chain_batch);

typedef struct { /* one utterance */
    int64_t T, S, K, M, N, block, blocks;
    const float *scores, *stay, *move, *enter, *leave, *skip_score, *arrival, *entrance;
    const int32_t *column, *skip_source, *skip_target, *mark, *low, *high;
    float scale;
} chain;

/* The states that count in a frame. */
static inline __attribute__((always_inline)) int64_t first_state(const chain *c, int64_t t) {
    return c->low ? c->low[t] : 0;
}

static inline __attribute__((always_inline)) int64_t states_end(const chain *c, int64_t t) {
    return c->high ? c->high[t] : c->S;
}

/* The first skip into the state or a later one. */
static int64_t first_skip(const chain *c, int64_t state) {
    int64_t low = 0, high = c->K;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (c->skip_target[middle] < state) low = middle + 1;
        else high = middle;
    }
    return low;
}

static chain chain_of(const chain_batch *p, int64_t b) {
    const int64_t t = p->frame_starts[b], s = p->state_starts[b], k = p->skip_starts[b];
    const int64_t m = p->mark_starts ? p->mark_starts[b] : 0;
    chain c = {p->frame_starts[b + 1] - t, p->state_starts[b + 1] - s, p->skip_starts[b + 1] - k,
               p->mark_starts ? p->mark_starts[b + 1] - m : 0, p->columns, 0, 0,
               p->scores + t * p->columns, p->stay + s, p->move + s, p->enter + s, p->leave + s,
               p->skip_score + k, p->arrival + t, p->entrance + s, p->column + s, p->skip_source + k, p->skip_target + k,
               p->mark ? p->mark + m : 0, p->low ? p->low + t : 0, p->high ? p->high + t : 0, p->scale};
    c.block = c.T;
    if (c.S && c.T > p->kept_cells / c.S) {
        c.block = (int64_t)ceil(sqrt((double)c.T));
        if (c.block < 1) c.block = 1;
    }
    c.blocks = c.block ? (c.T + c.block - 1) / c.block : 0;
    return c;
}

/* row[begin ... end - 1] relative to the best of them; returns what was taken off. */
static inline __attribute__((always_inline)) float relative(float *restrict row, int64_t begin, int64_t end) {
    float best = maximum(row + begin, end - begin);
    if (best < IMPOSSIBLE) best = 0.0f;
    for (int64_t j = begin; j < end; j++) {
        const float x = row[j] - best;
        row[j] = x < LOG_ZERO ? LOG_ZERO : x;
    }
    return best;
}

/* next += scores of frame t, then relative to its best; returns what was taken off. */
static inline __attribute__((always_inline)) float emit(const chain *c, int64_t t, float *restrict next) {
    const int64_t begin = first_state(c, t), end = states_end(c, t);
    const float *row = c->scores + t * c->N;
    for (int64_t j = begin; j < end; j++) next[j] += c->scale * row[c->column[j]];
    return relative(next, begin, end);
}

/* What the step into the next frame reads beside the states that count. */
static inline __attribute__((always_inline)) void close_edges(const chain *c, int64_t t, float *restrict row) {
    if (!c->low || t + 1 >= c->T) return;
    if (c->low[t]) row[c->low[t] - 1] = LOG_ZERO;
    for (int64_t j = c->high[t]; j < c->high[t + 1]; j++) row[j] = LOG_ZERO;
}

/* What `close_edges` leaves of a frame's states, and no more: a row of a long chain would not fit often. */
static void copy_row(const chain *c, int64_t t, float *restrict to, const float *restrict from) {
    int64_t begin = first_state(c, t), end = states_end(c, t);
    if (begin) begin--;
    if (t + 1 < c->T && states_end(c, t + 1) > end) end = states_end(c, t + 1);
    memcpy(to + begin, from + begin, (size_t)(end - begin) * sizeof(float));
}

VECTORISED
static float first_frame(const chain *c, float *restrict next) {
    for (int64_t j = first_state(c, 0); j < states_end(c, 0); j++) next[j] = c->enter[j];
    const float best = emit(c, 0, next);
    close_edges(c, 0, next);
    return best;
}

VECTORISED
static float best_step(const chain *c, int64_t t, const float *restrict now, float *restrict next,
                       uint8_t *restrict back) {
    next[0] = now[0] + c->stay[0];
    back[0] = STAY;
    for (int64_t j = 1; j < c->S; j++) {
        const float stays = now[j] + c->stay[j], moves = now[j - 1] + c->move[j];
        next[j] = moves > stays ? moves : stays;
        back[j] = moves > stays ? MOVE : STAY;
    }
    int32_t target = -1;
    uint8_t code = SKIP;
    for (int64_t k = 0; k < c->K; k++) {
        code = c->skip_target[k] == target ? (uint8_t)(code + 1) : SKIP;
        target = c->skip_target[k];
        const float skips = now[c->skip_source[k]] + c->skip_score[k];
        if (skips > next[target]) {
            next[target] = skips;
            back[target] = code;
        }
    }
    return emit(c, t, next);
}

static inline __attribute__((always_inline)) float log_add(float a, float b) {
    const float high = a > b ? a : b, low = a > b ? b : a;
    return high + fast_log(1.0f + fast_exp(low - high));
}

VECTORISED
static float sum_step(const chain *c, int64_t t, const float *restrict now, float *restrict next) {
    const int64_t begin = first_state(c, t), end = states_end(c, t);
    const int64_t before = first_state(c, t - 1), behind = states_end(c, t - 1);
    const float gain = c->arrival[t];
    if (!begin) next[0] = now[0] + c->stay[0];
    for (int64_t j = begin ? begin : 1; j < end; j++)
        next[j] = log_add(now[j] + c->stay[j], now[j - 1] + c->move[j] + gain * c->entrance[j]);
    for (int64_t k = c->low ? first_skip(c, begin) : 0; k < c->K && c->skip_target[k] < end; k++) {
        const int64_t source = c->skip_source[k], target = c->skip_target[k];
        if (source >= before && source < behind)
            next[target] =
                log_add(next[target], now[source] + c->skip_score[k] + gain * c->entrance[target]);
    }
    const float best = emit(c, t, next);
    close_edges(c, t, next);
    return best;
}

/* What comes after frame t - 1, from what comes after frame t; `ahead` is scratch. */
VECTORISED
static void sum_step_back(const chain *c, int64_t t, float *restrict after, float *restrict ahead) {
    const int64_t from = first_state(c, t), to = states_end(c, t), last = c->S - 1;
    const int64_t begin = first_state(c, t - 1), end = states_end(c, t - 1);
    const float gain = c->arrival[t];
    for (int64_t j = from; j < to; j++) ahead[j] = after[j];
    emit(c, t, ahead);
    for (int64_t j = begin; j < from; j++) ahead[j] = LOG_ZERO;
    if (to < c->S) ahead[to] = LOG_ZERO;
    for (int64_t j = begin; j < (end < last ? end : last); j++)
        after[j] = log_add(ahead[j] + c->stay[j],
                           ahead[j + 1] + c->move[j + 1] + gain * c->entrance[j + 1]);
    if (end == c->S) after[last] = ahead[last] + c->stay[last];
    for (int64_t k = c->low ? first_skip(c, from) : 0; k < c->K && c->skip_target[k] < to; k++) {
        const int64_t source = c->skip_source[k], target = c->skip_target[k];
        if (source >= begin && source < end)
            after[source] = log_add(after[source],
                                    ahead[target] + c->skip_score[k] + gain * c->entrance[target]);
    }
    relative(after, begin, end);
}

/* probability[j] of frame t, from what is before (with the frame) and after it. */
VECTORISED
static void normalize(int64_t begin, int64_t end, const float *restrict before, const float *restrict after,
                      float *restrict probability) {
    for (int64_t j = begin; j < end; j++) probability[j] = before[j] + after[j];
    const float best = maximum(probability + begin, end - begin);
    float sum = 0.0f;
    for (int64_t j = begin; j < end; j++) {
        probability[j] = fast_exp(probability[j] - best);
        sum += probability[j];
    }
    const float share = 1.0f / sum;
    for (int64_t j = begin; j < end; j++) probability[j] *= share;
}

static void no_path(const chain_batch *p, int64_t b, const chain *c) {
    p->total[b] = c->T || c->S ? -INFINITY : 0.0;
    const int64_t t = p->frame_starts[b];
    if (p->path)
        for (int64_t i = 0; i < c->T; i++) p->path[t + i] = -1;
    if (p->occupancy) memset(p->occupancy + t * c->N, 0, (size_t)(c->T * c->N) * sizeof(float));
    if (p->quantile)
        for (int64_t i = 0; i < c->M * p->levels; i++)
            p->quantile[p->mark_starts[b] * p->levels + i] = 0.0;
    if (p->edge) p->edge[b] = 0.0;
}

/* The steps into the frames start + 1 ... stop; `kept` is the state of frame `start`, `rows` scratch. */
static void best_steps(const chain *c, int64_t start, int64_t stop, const float *kept, float *rows, uint8_t *back) {
    float *now = rows, *next = rows + c->S;
    memcpy(now, kept, (size_t)c->S * sizeof(float));
    for (int64_t t = start + 1; t <= stop; t++) {
        best_step(c, t, now, next, back + (t - start - 1) * c->S);
        float *swap = now;
        now = next;
        next = swap;
    }
}

static int64_t state_before(const chain *c, int64_t state, uint8_t code) {
    if (code == STAY) return state;
    if (code == MOVE) return state - 1;
    return c->skip_source[first_skip(c, state) + code - SKIP];
}

static void best_path(chain_batch *p, int64_t b) {
    const chain c = chain_of(p, b);
    no_path(p, b, &c);
    if (!c.T || !c.S) return;
    float *kept = malloc((size_t)(c.blocks * c.S) * sizeof(float)); /* states at the start of each block */
    float *rows = malloc((size_t)(2 * c.S) * sizeof(float));
    uint8_t *back = malloc((size_t)(c.block * c.S));
    if (!kept || !rows || !back) {
#pragma omp atomic write
        p->out_of_memory = 1;
        goto done;
    }
    float *now = rows, *next = rows + c.S;
    double total = first_frame(&c, now);
    memcpy(kept, now, (size_t)c.S * sizeof(float));
    for (int64_t t = 1; t < c.T; t++) {
        total += best_step(&c, t, now, next, back + (t - 1) % c.block * c.S);
        float *swap = now;
        now = next;
        next = swap;
        if (t % c.block == 0) memcpy(kept + t / c.block * c.S, now, (size_t)c.S * sizeof(float));
    }
    int64_t state = 0;
    for (int64_t j = 1; j < c.S; j++)
        if (now[j] + c.leave[j] > now[state] + c.leave[state]) state = j;
    if (now[state] + c.leave[state] < IMPOSSIBLE) goto done;
    p->total[b] = total + now[state] + c.leave[state];
    int32_t *path = p->path + p->frame_starts[b];
    int64_t stop = c.T - 1;
    for (int64_t k = (c.T - 2) / c.block; k >= 0 && stop > 0; k--) {
        const int64_t start = k * c.block;
        /* the steps of the last block are still there */
        if (stop < c.T - 1) best_steps(&c, start, stop, kept + k * c.S, rows, back);
        for (int64_t t = stop; t > start; t--) {
            path[t] = (int32_t)state;
            state = state_before(&c, state, back[(t - start - 1) * c.S + state]);
        }
        stop = start;
    }
    path[0] = (int32_t)state;
done:
    free(kept);
    free(rows);
    free(back);
}

/* Where the probability that frame t lies at or behind a mark passes each level: P(t) rises with t.  The mark
 * lies at the left edge of the frame that is the first behind it, give or take half a frame. */
static void cross(const chain_batch *p, const chain *c, int64_t row, int64_t t, double here, double later) {
    for (int64_t q = 0; q < p->levels; q++) {
        const double level = p->level[q];
        if (!(here < level && level <= later)) continue;
        const double position = t + 0.5 + (level - here) / (later - here);
        p->quantile[row * p->levels + q] = position < 0.0 ? 0.0 : position > c->T ? c->T : position;
    }
}

static void marks_of_frame(chain_batch *p, int64_t b, const chain *c, int64_t t, const float *probability,
                           double *behind, double *later) {
    const int64_t begin = first_state(c, t), end = states_end(c, t);
    behind[end] = 0.0;
    for (int64_t j = end - 1; j >= begin; j--) behind[j] = behind[j + 1] + (double)probability[j];
    const double share = 1.0 / behind[begin];
    for (int64_t m = 0; m < c->M; m++) {
        const int64_t mark = c->mark[m];
        /* rounding must not let it fall */
        double here = behind[mark < begin ? begin : mark > end ? end : mark] * share;
        if (here > later[m]) here = later[m];
        cross(p, c, p->mark_starts[b] + m, t, here, later[m]);
        later[m] = here;
    }
}

/* What the whole sum gives: totals, occupancies, quantiles. */
static void all_paths(chain_batch *p, int64_t b) {
    const chain c = chain_of(p, b);
    no_path(p, b, &c);
    if (!c.T || !c.S) return;
    float *kept = malloc((size_t)(c.blocks * c.S) * sizeof(float));
    float *before = malloc((size_t)(c.block * c.S) * sizeof(float)); /* of the frames of one block */
    float *rows = malloc((size_t)(3 * c.S) * sizeof(float));
    double *behind = malloc((size_t)(c.S + 1 + c.M) * sizeof(double));
    if (!kept || !before || !rows || !behind) {
#pragma omp atomic write
        p->out_of_memory = 1;
        goto done;
    }
    double total = first_frame(&c, before);
    copy_row(&c, 0, kept, before);
    for (int64_t t = 1; t < c.T; t++) {
        float *next = before + t % c.block * c.S;
        const float *now = before + (t - 1) % c.block * c.S;
        if (c.block == 1) { /* the one row cannot be read and written at once */
            copy_row(&c, t - 1, rows, now);
            now = rows;
        }
        total += sum_step(&c, t, now, next);
        if (t % c.block == 0) copy_row(&c, t, kept + t / c.block * c.S, next);
    }
    double edge = 0.0;
    float *after = rows, *ahead = rows + c.S, *probability = rows + 2 * c.S;
    const float *last = before + (c.T - 1) % c.block * c.S;
    float sum = LOG_ZERO;
    for (int64_t j = first_state(&c, c.T - 1); j < states_end(&c, c.T - 1); j++) {
        after[j] = c.leave[j];
        sum = log_add(sum, last[j] + c.leave[j]);
    }
    if (sum < IMPOSSIBLE) goto done;
    p->total[b] = total + sum;
    if (!p->occupancy && !p->quantile && !p->edge) goto done;
    double *later = behind + c.S + 1;
    for (int64_t m = 0; m < c.M; m++) {
        later[m] = 1.0;
        for (int64_t q = 0; q < p->levels; q++) p->quantile[(p->mark_starts[b] + m) * p->levels + q] = c.T;
    }
    for (int64_t k = c.blocks - 1; k >= 0; k--) {
        const int64_t start = k * c.block, stop = start + c.block < c.T ? start + c.block : c.T;
        copy_row(&c, start, before, kept + k * c.S);
        if (k < c.blocks - 1) /* those of the last block are still there */
            for (int64_t t = start + 1; t < stop; t++)
                sum_step(&c, t, before + (t - start - 1) * c.S, before + (t - start) * c.S);
        for (int64_t t = stop - 1; t >= start; t--) {
            const int64_t begin = first_state(&c, t), end = states_end(&c, t);
            normalize(begin, end, before + (t - start) * c.S, after, probability);
            if (p->occupancy) {
                float *row = p->occupancy + (p->frame_starts[b] + t) * c.N;
                for (int64_t j = begin; j < end; j++) row[c.column[j]] += probability[j];
            }
            if (begin && probability[begin] > edge) edge = probability[begin];
            if (end < c.S && probability[end - 1] > edge) edge = probability[end - 1];
            if (c.M) marks_of_frame(p, b, &c, t, probability, behind, later);
            if (t) sum_step_back(&c, t, after, ahead);
        }
    }
    for (int64_t m = 0; m < c.M; m++) cross(p, &c, p->mark_starts[b] + m, -1, 0.0, later[m]);
    if (p->edge) p->edge[b] = edge;
done:
    free(kept);
    free(before);
    free(rows);
    free(behind);
}

void chains_best(chain_batch *p) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(p->threads)
    for (int64_t b = 0; b < p->utterances; b++) best_path(p, b);
}

void chains_sum(chain_batch *p) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(p->threads)
    for (int64_t b = 0; b < p->utterances; b++) all_paths(p, b);
}
