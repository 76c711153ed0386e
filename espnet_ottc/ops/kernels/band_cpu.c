/* The best path of a long recording along a long sequence of labels, within a moving band of states.
 *
 * From frame to frame a path stays in its state, moves to the next one, or jumps over one where that is allowed.
 * Only `width` states are looked at on each frame, around the best one.  Every path that leaves the band does so
 * in a state whose score is known; from there on it gains at most `rest`, the sum of the frames' best scores.
 * Where that is less than what the best path inside the band has, no path outside is better, and the result is
 * exact.  Scores are kept relative to the best of each frame, so that long recordings lose no digits.  Memory: the
 * rows of every `block`-th frame; the frames between are computed once more on the way back.
 */

#include <stdlib.h>
#include <string.h>

#include "fast_math.h"

#define LOG_ZERO (-1e30f) /* stands for -inf, so that differences are never NaN */
#define IMPOSSIBLE (-1e29f)
#define RECENTRED 16 /* frames after which the band may move */

typedef struct {
    int64_t frames, states, columns, width, block;
    const float *scores;   /* (T, columns) */
    const int32_t *column; /* (S,) of each state, in [0, columns) */
    const float *jump;     /* (S,) 0 where a path may come from two states before, else LOG_ZERO */
    const double *rest;    /* (T + 1,) sum of the best scores of the frames from t on */
    int64_t first, last;   /* in how many states a path may begin, and end */
    int32_t jumps;         /* whether any state may be jumped into */
    int32_t out_of_memory;
    /* results */
    int32_t *path;  /* (T,) state of each frame */
    double total;   /* its score; -inf without a path in the band */
    double outside; /* no path outside the band has a higher score */
} band_search;

/* What the caller's must have: a library of another version would read beyond it. */
const int64_t structure_bytes = sizeof(band_search);

VECTORISED
static float highest(const float *row, int64_t n) {
    float best = LOG_ZERO;
    for (int64_t i = 0; i < n; i++) best = row[i] > best ? row[i] : best;
    return best;
}

/* next[i] for the states low + i, from now[i] for the states low - shift + i; `now` has `width` values with
 * room for two on either side.  Returns what was taken off. */
VECTORISED
static float step(const band_search *p, int64_t t, int64_t low, int64_t shift, const float *restrict now,
                  float *restrict next, uint8_t *restrict back) {
    const float *row = p->scores + t * p->columns;
    const int32_t *column = p->column + low;
    const float *jump = p->jump + low, *from = now + shift;
    const int64_t kept = p->width - shift, n = p->width;
    /* States that the band did not have before: only the first two can be reached. */
    const int64_t whole = kept < 0 ? 0 : kept;
    if (p->jumps && back) {
        for (int64_t i = 0; i < whole; i++) {
            const float stays = from[i], moves = from[i - 1], jumps = from[i - 2] + jump[i];
            const float two = moves > stays ? moves : stays;
            next[i] = (jumps > two ? jumps : two) + row[column[i]];
            back[i] = jumps > two ? 2 : moves > stays ? 1 : 0;
        }
    } else if (p->jumps) {
        for (int64_t i = 0; i < whole; i++) {
            const float stays = from[i], moves = from[i - 1], jumps = from[i - 2] + jump[i];
            const float two = moves > stays ? moves : stays;
            next[i] = (jumps > two ? jumps : two) + row[column[i]];
        }
    } else if (back) {
        for (int64_t i = 0; i < whole; i++) {
            const float stays = from[i], moves = from[i - 1];
            next[i] = (moves > stays ? moves : stays) + row[column[i]];
            back[i] = moves > stays ? 1 : 0;
        }
    } else {
        for (int64_t i = 0; i < whole; i++) {
            const float stays = from[i], moves = from[i - 1];
            next[i] = (moves > stays ? moves : stays) + row[column[i]];
        }
    }
    for (int64_t i = whole; i < n; i++) {
        const float moves = i == kept ? from[i - 1] : LOG_ZERO;
        const float jumps = p->jumps && i - 2 < kept ? from[i - 2] + jump[i] : LOG_ZERO;
        next[i] = (jumps > moves ? jumps : moves) + row[column[i]];
        if (back) back[i] = jumps > moves ? 2 : 1;
    }
    float best = highest(next, n);
    if (best < IMPOSSIBLE) best = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        const float x = next[i] - best;
        next[i] = x < LOG_ZERO ? LOG_ZERO : x;
    }
    return best;
}

static void raise_to(double *bound, double value) {
    if (value > *bound) *bound = value;
}

/* Where the band begins on frame t + 1, given its row on frame t. */
static int64_t moved(const band_search *p, int64_t t, int64_t low, const float *row) {
    const int64_t reach = p->jumps ? 2 : 1, last = p->states - p->width;
    /* States below cannot come to the end any more. */
    const int64_t needed = last - reach * (p->frames - 2 - t);
    int64_t next = low;
    if ((t + 1) % RECENTRED == 0) {
        const float best = highest(row, p->width);
        int64_t i = 0;
        while (row[i] < best) i++;
        next = low + i - p->width / 2;
    }
    if (next < low) next = low;
    if (next < needed) next = needed;
    return next > last ? last : next;
}

/* The band that moves from `low` to `next` behind frame t leaves paths out. */
static void leave(band_search *p, int64_t t, int64_t low, int64_t next, const float *row, double offset) {
    const int64_t reach = p->jumps ? 2 : 1, n = p->width;
    const double rest = offset + p->rest[t + 1];
    for (int64_t i = 0; i < next - low && i < n; i++) {
        const int64_t farthest = low + i + reach * (p->frames - 1 - t);
        if (row[i] > IMPOSSIBLE && farthest >= p->states - p->last) raise_to(&p->outside, rest + row[i]);
    }
    /* At the upper end a path may go beyond the band's last state. */
    if (next + n < p->states)
        for (int64_t i = next - low + n - reach < 0 ? 0 : next - low + n - reach; i < n; i++)
            if (row[i] > IMPOSSIBLE) raise_to(&p->outside, rest + row[i]);
}

void band_best(band_search *p) {
    const int64_t T = p->frames, n = p->width, blocks = (T + p->block - 1) / p->block;
    p->total = p->outside = -INFINITY;
    p->out_of_memory = 0;
    if (!T || !p->states) return;
    float *kept = malloc((size_t)(blocks * n) * sizeof(float));
    float *rows = malloc((size_t)(2 * (n + 4)) * sizeof(float));
    int64_t *lows = malloc((size_t)T * sizeof(int64_t));
    uint8_t *back = malloc((size_t)(p->block * n));
    if (!kept || !rows || !lows || !back) {
        p->out_of_memory = 1;
        goto end;
    }
    /* Two values on either side are never reached. */
    for (int64_t i = 0; i < 2 * (n + 4); i++) rows[i] = LOG_ZERO;
    float *now = rows + 2, *next = rows + n + 6;
    double offset = 0.0;
    for (int64_t i = 0; i < n; i++) now[i] = i < p->first ? p->scores[p->column[i]] : LOG_ZERO;
    lows[0] = 0;
    memcpy(kept, now, (size_t)n * sizeof(float));
    for (int64_t t = 0; t + 1 < T; t++) {
        const int64_t low = moved(p, t, lows[t], now);
        leave(p, t, lows[t], low, now, offset);
        offset += step(p, t + 1, low, low - lows[t], now, next, NULL);
        lows[t + 1] = low;
        float *swap = now;
        now = next;
        next = swap;
        if ((t + 1) % p->block == 0) memcpy(kept + (t + 1) / p->block * n, now, (size_t)n * sizeof(float));
    }
    int64_t state = -1;
    float best = IMPOSSIBLE;
    for (int64_t s = p->states - 1; s >= p->states - p->last && s >= lows[T - 1]; s--)
        if (now[s - lows[T - 1]] > best) {
            best = now[s - lows[T - 1]];
            state = s;
        }
    if (state < 0) goto end;
    p->total = offset + best;
    p->path[T - 1] = (int32_t)state;
    for (int64_t b = blocks - 1; b >= 0; b--) {
        /* The steps behind the first frame of the block, as far as into the first of the next. */
        const int64_t start = b * p->block, stop = start + p->block < T ? start + p->block : T - 1;
        memcpy(now, kept + b * n, (size_t)n * sizeof(float));
        for (int64_t t = start; t < stop; t++) {
            step(p, t + 1, lows[t + 1], lows[t + 1] - lows[t], now, next, back + (t - start) * n);
            float *swap = now;
            now = next;
            next = swap;
        }
        for (int64_t t = stop; t > start; t--) {
            state -= back[(t - 1 - start) * n + state - lows[t]];
            p->path[t - 1] = (int32_t)state;
        }
    }
end:
    free(kept);
    free(rows);
    free(lows);
    free(back);
}
