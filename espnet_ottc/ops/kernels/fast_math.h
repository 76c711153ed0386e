/* What the C kernels share: vector versions by the processor, exp and log that vectorise. */

#ifndef FAST_MATH_H
#define FAST_MATH_H

#include <math.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
/* One object file for every x86-64 machine: the loader picks the widest version the processor has. */
#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTORISED
#endif

/* exp(x) for x < 88 with a relative error below 4e-7; below -87 it is 0, and NaN stays NaN.  exp(x) =
 * 2^n exp(r) with |r| <= log(2)/2 and the minimax polynomial of degree 5 for exp(r) in relative error.
 * Branch-free, so that it vectorises. */
static inline __attribute__((always_inline)) float fast_exp(float x) {
    const float shifter = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    const float clipped = x < -87.0f ? -87.0f : x;
    const float shifted = clipped * 1.44269504088896341f + shifter;
    const float r = clipped - (shifted - shifter) * 0.69314718055994531f;
    float p = 8.3372276286e-3f;
    p = p * r + 4.1910618544e-2f;
    p = p * r + 1.6666735709e-1f;
    p = p * r + 4.9999013543e-1f;
    p = p * r + 1.0000001192f;
    p = p * r + 1.0f;
    union { float f; int32_t i; } bits = {shifted};
    bits.i = (int32_t)(((uint32_t)bits.i + 127u) << 23);
    const float result = p * bits.f;
    return x < -87.0f ? 0.0f : result;
}

/* log(x) for normal x > 0 within 2 units in the last place (Cephes' polynomial); NaN stays NaN. */
static inline __attribute__((always_inline)) float fast_log(float x) {
    union { float f; int32_t i; } bits = {x};
    const int32_t exponent = (int32_t)((uint32_t)bits.i - 0x3f3504f3u) >> 23; /* mantissa in [sqrt(1/2), sqrt(2)) */
    bits.i = (int32_t)((uint32_t)bits.i - ((uint32_t)exponent << 23));
    const float m = bits.f - 1.0f, e = (float)exponent, square = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    p = p * m * square - 2.12194440e-4f * e - 0.5f * square;
    const float result = m + p + 0.693359375f * e;
    return x == x ? result : x;
}

static inline __attribute__((always_inline)) float maximum(const float *x, int64_t n) {
    float m = -INFINITY;
#pragma omp simd reduction(max : m)
    for (int64_t i = 0; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}

#endif
