/* The OTTC loss on the CPU in float32: one read of the logits forward, one read and one write backward.
 *
 * The arithmetic is that of docs/mathematics/loss.md.  Per utterance (serial, O(T + U)): alpha = softmax of the frame
 * scores, A and B = cumulative weights in double precision, and for every frame the first label it meets.
 * Per frame (parallel): the log-sum-exp over the vocabulary and a walk along the labels that the frame's
 * interval [A(t-1), A(t)) crosses.  The plan is never stored.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "fast_math.h"

#define ROWS_PER_TASK 64

typedef struct {
    int64_t batch, frames, labels, vocabulary;
    int64_t logits_batch_stride, logits_frame_stride; /* in elements; the vocabulary's stride is 1 */
    const float *logits;          /* (B, T, V) */
    const float *frame_logits;    /* (B, T) */
    const int64_t *targets;       /* (B, U) */
    const int64_t *frame_lengths; /* (B,) */
    const int64_t *label_lengths; /* (B,) */
    const double *label_weights;  /* (B, U), or NULL for uniform weights */
    double tie;                   /* breakpoints closer than this are one */
    double smallest_weight;       /* of a label */
    double null_capacity;         /* 0: none */
    double null_weight;
    int64_t null_label;           /* in [0, V) */
    int32_t threads;
    int32_t suspect; /* set where an input may break a rule; the caller then looks closely */
    /* kept for the backward pass */
    float *alpha;        /* (B, T) */
    float *normalizer;   /* (B, T) log-sum-exp of each frame */
    double *frame_ends;  /* (B, T) A */
    double *label_ends;  /* (B, U) B */
    int32_t *first;      /* (B, T) first label of each frame */
    /* results */
    float *losses;             /* (B,) */
    float *edge_scores;        /* (B, T, 2) scratch: log-probabilities of a frame's first and last label */
    double *frame_losses;      /* (B, T) scratch */
    float *grad_frame_logits;  /* (B, T), or NULL where no gradient is wanted */
    float *grad_label_weights; /* (B, U), or NULL */
    /* the backward pass */
    const float *grad_losses; /* (B,) */
    float *grad_logits;       /* (B, T, V) contiguous, or NULL */
    float *scaled_frame_logits;  /* (B, T) grad_frame_logits times grad_losses, or NULL */
    float *scaled_label_weights; /* (B, U), or NULL */
} ottc_batch;

/* What the caller's must have: a library of another version would read beyond it. */
const int64_t structure_bytes = sizeof(ottc_batch);

static inline void suspect(ottc_batch *p) {
#pragma omp atomic write
    p->suspect = 1;
}

static inline int64_t clamp_length(int64_t length, int64_t longest) {
    return length < 0 ? 0 : length > longest ? longest : length;
}

/* out[k] = log-sum-exp of row k; a row that holds NaN or +inf, or only -inf, gives NaN. */
VECTORISED
static void normalizers(float *restrict out, const float *rows, int64_t stride, int64_t count, int64_t n) {
    float largest[ROWS_PER_TASK];
    for (int64_t k = 0; k < count; k++) {
        const float *x = rows + k * stride, m = maximum(x, n);
        float s = 0.0f;
#pragma omp simd reduction(+ : s)
        for (int64_t i = 0; i < n; i++) s += fast_exp(x[i] - m);
        largest[k] = m;
        out[k] = s;
    }
    for (int64_t k = 0; k < count; k++) out[k] = largest[k] + fast_log(out[k]);
}

VECTORISED
static void softmax_times(float *restrict out, const float *restrict x, int64_t n, float normalizer,
                          float weight) {
    for (int64_t i = 0; i < n; i++) out[i] = weight * fast_exp(x[i] - normalizer);
}

static void check_values(ottc_batch *p, int64_t b) {
    const int64_t T = p->frame_lengths[b], U = p->label_lengths[b];
    if (T < 0 || T > p->frames || U < 0 || U > p->labels || (U && !T)) {
        suspect(p);
        return;
    }
    double sum = 0.0;
    for (int64_t u = 0; u < U; u++) {
        const int64_t id = p->targets[b * p->labels + u];
        const double weight = p->label_weights ? p->label_weights[b * p->labels + u] : 1.0 / U;
        sum += weight;
        if (id < 0 || id >= p->vocabulary || !(weight >= p->smallest_weight)) suspect(p);
    }
    if (U && !(fabs(sum - 1.0) < 1e-5)) suspect(p);
}

/* Weights of the frames and labels, their cumulative sums, and where each frame begins in the labels. */
VECTORISED
static void accumulate(ottc_batch *p, int64_t b) {
    const int64_t T = clamp_length(p->frame_lengths[b], p->frames);
    const int64_t U = clamp_length(p->label_lengths[b], p->labels);
    const float *w = p->frame_logits + b * p->frames;
    float *alpha = p->alpha + b * p->frames;
    double *A = p->frame_ends + b * p->frames, *B = p->label_ends + b * p->labels;
    int32_t *first = p->first + b * p->frames;

    const float largest = maximum(w, T);
    softmax_times(alpha, w, T, largest, 1.0f);
    double total = 0.0;
    for (int64_t t = 0; t < T; t++) A[t] = total += alpha[t];
    const float share = (float)(1.0 / total);
    for (int64_t t = 0; t < T; t++) {
        A[t] /= total;
        alpha[t] *= share;
    }
    /* the padding, so that all that is kept is defined */
    for (int64_t t = T; t < p->frames; t++) {
        alpha[t] = p->normalizer[b * p->frames + t] = 0.0f;
        A[t] = 1.0;
        first[t] = 0;
    }
    for (int64_t u = U; u < p->labels; u++) B[u] = 1.0;
    if (T && !(isfinite(largest) && isfinite(total))) suspect(p);

    double sum = 0.0;
    for (int64_t u = 0; u < U; u++)
        B[u] = sum += p->label_weights ? p->label_weights[b * p->labels + u] : 1.0;
    for (int64_t u = 0; u < U; u++) B[u] /= sum;

    /* breakpoints that no frame crosses, NaN among them, have a slope of 0 */
    if (p->grad_label_weights && p->labels)
        memset(p->grad_label_weights + b * p->labels, 0, (size_t)p->labels * sizeof(float));

    int64_t u = 0;
    for (int64_t t = 0; t < T; t++) {
        first[t] = (int32_t)u;
        if (!U) continue;
        while (u < U - 1 && B[u] < A[t] - p->tie) u++;
        if (fabs(B[u] - A[t]) <= p->tie) A[t] = B[u];
    }
    if (T) A[T - 1] = 1.0;
}

static inline __attribute__((always_inline)) float score(const ottc_batch *p, int64_t b, int64_t u,
                                                         const float *row, float normalizer) {
    const int64_t id = p->targets[b * p->labels + u];
    return id < 0 || id >= p->vocabulary ? NAN : row[id] - normalizer;
}

/* out[k] = what frame start + k of n does not use of its capacity, times its weight; NaN counts as used. */
VECTORISED
static void unused_capacities(float *restrict out, const ottc_batch *p, int64_t b, int64_t start, int64_t count,
                              int64_t n) {
    const float capacity = (float)(p->null_capacity / (double)n), weight = (float)p->null_weight;
    const float *restrict alpha = p->alpha + b * p->frames + start;
    for (int64_t k = 0; k < count; k++) {
        const float unused = capacity - alpha[k];
        out[k] = weight * (unused > 0.0f ? unused : 0.0f);
    }
}

/* Adds to the losses of frames what their unused capacity costs; apart from `forward_frame`, as a test for each
 * frame would cost as much again. */
static void add_null_losses(ottc_batch *p, int64_t b, int64_t start, int64_t count, int64_t n) {
    float unused[ROWS_PER_TASK], surprise[ROWS_PER_TASK];
    const float *row = p->logits + b * p->logits_batch_stride + start * p->logits_frame_stride + p->null_label;
    const float *normalizer = p->normalizer + b * p->frames + start;
    double *losses = p->frame_losses + b * p->frames + start;
    unused_capacities(unused, p, b, start, count, n);
    for (int64_t k = 0; k < count; k++) surprise[k] = normalizer[k] - row[k * p->logits_frame_stride];
    for (int64_t k = 0; k < count; k++) losses[k] += unused[k] > 0.0f ? unused[k] * surprise[k] : 0.0f;
}

static void forward_frame(ottc_batch *p, int64_t b, int64_t t) {
    const int64_t U = clamp_length(p->label_lengths[b], p->labels), bt = b * p->frames + t;
    const float *row = p->logits + b * p->logits_batch_stride + t * p->logits_frame_stride;
    const double *B = p->label_ends + b * p->labels;
    const float normalizer = p->normalizer[bt];
    if (!isfinite(normalizer)) suspect(p);
    if (!U) return;

    double low = t ? p->frame_ends[bt - 1] : 0.0, loss = 0.0;
    const double high = p->frame_ends[bt];
    int64_t u = p->first[bt];
    float current = score(p, b, u, row, normalizer);
    /* over a frame without mass slopes add up to the same, whatever its score: a finite one then */
    if (!(high > low) && !isfinite(current)) current = 0.0f;
    if (p->edge_scores) p->edge_scores[2 * bt] = current;
    while (u < U - 1 && B[u] < high) {
        if (B[u] > low) loss -= (B[u] - low) * current;
        low = B[u];
        const float next = score(p, b, ++u, row, normalizer);
        if (p->grad_label_weights)
            p->grad_label_weights[b * p->labels + u - 1] = next - current;
        current = next;
    }
    if (high > low) loss -= (high - low) * current;
    p->frame_losses[bt] = loss;
    if (p->edge_scores) p->edge_scores[2 * bt + 1] = current;
}

/* dL/dweight = minus the running sum of dL/dbreakpoint; then the simplex's projection. */
static void finish(const ottc_batch *p, int64_t b) {
    const int64_t T = clamp_length(p->frame_lengths[b], p->frames);
    const int64_t U = clamp_length(p->label_lengths[b], p->labels);
    double loss = 0.0;
    for (int64_t t = 0; t < T && U; t++) loss += p->frame_losses[b * p->frames + t];
    p->losses[b] = U && !T ? INFINITY : (float)loss;
    /* frame scores that have no softmax leave no weight to transport: say so rather than 0 */
    if (U && T && isnan(p->alpha[b * p->frames])) p->losses[b] = NAN;

    if (p->grad_frame_logits) {
        const float *edge = p->edge_scores + 2 * b * p->frames, *alpha = p->alpha + b * p->frames;
        float *grad = p->grad_frame_logits + b * p->frames;
        double potential = 0.0, mean = 0.0;
        for (int64_t t = 0; t < T && U; t++) {
            if (t) potential -= (double)edge[2 * t] - edge[2 * t - 1];
            grad[t] = (float)potential;
            mean += alpha[t] * potential;
        }
        for (int64_t t = 0; t < p->frames; t++)
            grad[t] = t < T && U ? (float)(alpha[t] * (grad[t] - mean)) : 0.0f;
    }
    if (p->grad_label_weights) {
        const double *B = p->label_ends + b * p->labels;
        float *grad = p->grad_label_weights + b * p->labels;
        double potential = 0.0, mean = 0.0, sum = 0.0;
        for (int64_t u = 0; u < U && T; u++) {
            const double slope = u < U - 1 ? grad[u] : 0.0;
            grad[u] = (float)potential;
            mean += (B[u] - (u ? B[u - 1] : 0.0)) * potential;
            potential -= slope;
            sum += p->label_weights[b * p->labels + u];
        }
        for (int64_t u = 0; u < p->labels; u++)
            grad[u] = u < U && T ? (float)((grad[u] - mean) / sum) : 0.0f;
    }
}

/* Fills alpha, normalizer, frame_ends, label_ends, first, losses, suspect and the two small gradients. */
void ottc_forward(ottc_batch *p) {
    const int64_t tasks = (p->frames + ROWS_PER_TASK - 1) / ROWS_PER_TASK;
#pragma omp parallel num_threads(p->threads)
    {
#pragma omp for schedule(dynamic, 1)
        for (int64_t b = 0; b < p->batch; b++) {
            check_values(p, b);
            accumulate(p, b);
        }
#pragma omp for collapse(2) schedule(dynamic, 1)
        for (int64_t b = 0; b < p->batch; b++)
            for (int64_t k = 0; k < tasks; k++) {
                const int64_t T = clamp_length(p->frame_lengths[b], p->frames);
                const int64_t start = k * ROWS_PER_TASK;
                const int64_t end = start + ROWS_PER_TASK < T ? start + ROWS_PER_TASK : T;
                if (start >= end) continue;
                normalizers(p->normalizer + b * p->frames + start,
                            p->logits + b * p->logits_batch_stride + start * p->logits_frame_stride,
                            p->logits_frame_stride, end - start, p->vocabulary);
                for (int64_t t = start; t < end; t++) forward_frame(p, b, t);
                if (p->null_capacity > 0.0 && clamp_length(p->label_lengths[b], p->labels))
                    add_null_losses(p, b, start, end - start, T);
            }
#pragma omp for schedule(dynamic, 1)
        for (int64_t b = 0; b < p->batch; b++) finish(p, b);
    }
}

static void backward_frame(const ottc_batch *p, int64_t b, int64_t t, float grad_loss, float unused) {
    const int64_t U = clamp_length(p->label_lengths[b], p->labels), bt = b * p->frames + t;
    const float *row = p->logits + b * p->logits_batch_stride + t * p->logits_frame_stride;
    float *out = p->grad_logits + bt * p->vocabulary;
    const double *B = p->label_ends + b * p->labels;
    softmax_times(out, row, p->vocabulary, p->normalizer[bt], grad_loss * (p->alpha[bt] + unused));
    out[p->null_label] -= grad_loss * unused;
    double low = t ? p->frame_ends[bt - 1] : 0.0;
    const double high = p->frame_ends[bt];
    for (int64_t u = p->first[bt]; u < U && low < high; u++) {
        const double end = u < U - 1 && B[u] < high ? B[u] : high;
        const int64_t id = p->targets[b * p->labels + u];
        if (end > low && id >= 0 && id < p->vocabulary) out[id] -= (float)(grad_loss * (end - low));
        low = end > low ? end : low;
    }
}

/* An utterance that takes no part (factor 0) passes nothing on, infinite slopes included. */
static void scale(float *out, const float *in, int64_t n, float factor) {
    for (int64_t i = 0; i < n; i++) out[i] = factor != 0.0f ? factor * in[i] : 0.0f;
}

static void backward_rows(const ottc_batch *p, int64_t b, int64_t start, int64_t end) {
    const float grad_loss = p->grad_losses[b];
    /* a length beyond the targets' width is no label where that width is 0 */
    const int64_t U = clamp_length(p->label_lengths[b], p->labels);
    const int64_t T = U ? clamp_length(p->frame_lengths[b], p->frames) : 0;
    float unused[ROWS_PER_TASK] = {0.0f};
    if (p->null_capacity > 0.0 && start < T)
        unused_capacities(unused, p, b, start, (end < T ? end : T) - start, T);
    for (int64_t t = start; t < end; t++) {
        const int64_t bt = b * p->frames + t;
        if (t < T && grad_loss != 0.0f && (p->alpha[bt] != 0.0f || unused[t - start] > 0.0f))
            backward_frame(p, b, t, grad_loss, unused[t - start]);
        else
            memset(p->grad_logits + bt * p->vocabulary, 0, (size_t)p->vocabulary * sizeof(float));
    }
}

/* Fills grad_logits and the scaled gradients from grad_losses and what the forward pass kept. */
void ottc_backward(const ottc_batch *p) {
    const int64_t tasks = p->grad_logits ? (p->frames + ROWS_PER_TASK - 1) / ROWS_PER_TASK : 0;
    for (int64_t b = 0; b < p->batch; b++) {
        const int64_t frames = b * p->frames, labels = b * p->labels;
        if (p->scaled_frame_logits)
            scale(p->scaled_frame_logits + frames, p->grad_frame_logits + frames, p->frames, p->grad_losses[b]);
        if (p->scaled_label_weights)
            scale(p->scaled_label_weights + labels, p->grad_label_weights + labels, p->labels, p->grad_losses[b]);
    }
#pragma omp parallel for collapse(2) schedule(dynamic, 1) num_threads(p->threads)
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t k = 0; k < tasks; k++) {
            const int64_t start = k * ROWS_PER_TASK;
            backward_rows(p, b, start, start + ROWS_PER_TASK < p->frames ? start + ROWS_PER_TASK : p->frames);
        }
}
