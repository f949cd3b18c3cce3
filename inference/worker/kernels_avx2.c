/* Kernels for AVX2 with FMA: 16 registers of 8 floats. */
#include "inference/worker/kernels_sets.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define KERNELS_TABLE kernels_avx2
#define KERNELS_NAME  "avx2"
#define KERNELS_ISA   __attribute__((target("avx2,fma")))
#define LANES         8
#define ROWS          4
#define VECTOR        static inline __attribute__((always_inline)) KERNELS_ISA

typedef __m256 vec;

VECTOR vec v_load(const float *from) {
    return _mm256_loadu_ps(from);
}
VECTOR void v_store(float *to, vec value) {
    _mm256_storeu_ps(to, value);
}
VECTOR void v_store_part(float *to, vec value, size_t count) {
    float values[LANES];
    _mm256_storeu_ps(values, value);
    __builtin_memcpy(to, values, count * sizeof(*values));
}
VECTOR vec v_set(float value) {
    return _mm256_set1_ps(value);
}
VECTOR vec v_add(vec a, vec b) {
    return _mm256_add_ps(a, b);
}
VECTOR vec v_mul(vec a, vec b) {
    return _mm256_mul_ps(a, b);
}
VECTOR vec v_div(vec a, vec b) {
    return _mm256_div_ps(a, b);
}
VECTOR vec v_fma(vec a, vec b, vec c) {
    return _mm256_fmadd_ps(a, b, c);
}
VECTOR vec v_max(vec a, vec b) {
    return _mm256_max_ps(a, b);
}
VECTOR vec v_min(vec a, vec b) {
    return _mm256_min_ps(a, b);
}
VECTOR vec v_load_even(const float *from) {
    vec mixed =
        _mm256_shuffle_ps(v_load(from), v_load(from + LANES), 0x88); /* 0 2 8 10 4 6 12 14 */
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
}
VECTOR vec v_load_odd(const float *from) {
    vec mixed = _mm256_shuffle_ps(v_load(from), v_load(from + LANES), 0xdd);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
}
VECTOR vec v_power(vec shifted) {
    __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f800000)));
}

VECTOR vec v_later(vec value, const int by) {
    const __m256i from = by == 1 ? _mm256_setr_epi32(0, 0, 1, 2, 3, 4, 5, 6)
                                 : _mm256_setr_epi32(0, 0, 0, 1, 2, 3, 4, 5);
    vec moved = _mm256_permutevar8x32_ps(value, from);
    return by == 1 ? _mm256_blend_ps(moved, _mm256_setzero_ps(), 0x01)
                   : _mm256_blend_ps(moved, _mm256_setzero_ps(), 0x03);
}
VECTOR vec v_sooner(vec value, const int by) {
    const __m256i from = by == 1 ? _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 7)
                                 : _mm256_setr_epi32(2, 3, 4, 5, 6, 7, 7, 7);
    vec moved = _mm256_permutevar8x32_ps(value, from);
    return by == 1 ? _mm256_blend_ps(moved, _mm256_setzero_ps(), 0x80)
                   : _mm256_blend_ps(moved, _mm256_setzero_ps(), 0xc0);
}
VECTOR vec v_hold(vec value) {
    __asm__("" : "+x"(value));
    return value;
}

#include "inference/worker/kernels_body.h"
#else
extern int kernels_avx2_absent; /* a file is never empty */
#endif
