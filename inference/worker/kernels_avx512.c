/* Kernels for AVX-512: 32 registers of 16 floats. Only its foundation is used (AVX512F). */
#include "inference/worker/kernels_sets.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define KERNELS_TABLE kernels_avx512
#define KERNELS_NAME  "avx512"
#define KERNELS_ISA   __attribute__((target("avx512f")))
#define LANES         16
#define ROWS          8
#define VECTOR        static inline __attribute__((always_inline)) KERNELS_ISA

typedef __m512 vec;

VECTOR vec v_load(const float *from) {
    return _mm512_loadu_ps(from);
}
VECTOR void v_store(float *to, vec value) {
    _mm512_storeu_ps(to, value);
}
VECTOR void v_store_part(float *to, vec value, size_t count) {
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), value);
}
VECTOR vec v_set(float value) {
    return _mm512_set1_ps(value);
}
VECTOR vec v_add(vec a, vec b) {
    return _mm512_add_ps(a, b);
}
VECTOR vec v_mul(vec a, vec b) {
    return _mm512_mul_ps(a, b);
}
VECTOR vec v_div(vec a, vec b) {
    return _mm512_div_ps(a, b);
}
VECTOR vec v_fma(vec a, vec b, vec c) {
    return _mm512_fmadd_ps(a, b, c);
}
VECTOR vec v_max(vec a, vec b) {
    return _mm512_max_ps(a, b);
}
VECTOR vec v_min(vec a, vec b) {
    return _mm512_min_ps(a, b);
}
VECTOR vec v_load_even(const float *from) {
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_ps(v_load(from), even, v_load(from + LANES));
}
VECTOR vec v_load_odd(const float *from) {
    const __m512i odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return _mm512_permutex2var_ps(v_load(from), odd, v_load(from + LANES));
}
VECTOR vec v_power(vec shifted) {
    __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f800000)));
}

VECTOR vec v_later(vec value, const int by) {
    __m512i lanes = _mm512_castps_si512(value), none = _mm512_setzero_si512();
    return _mm512_castsi512_ps(by == 1 ? _mm512_alignr_epi32(lanes, none, 15)
                                       : _mm512_alignr_epi32(lanes, none, 14));
}
VECTOR vec v_sooner(vec value, const int by) {
    __m512i lanes = _mm512_castps_si512(value), none = _mm512_setzero_si512();
    return _mm512_castsi512_ps(by == 1 ? _mm512_alignr_epi32(none, lanes, 1)
                                       : _mm512_alignr_epi32(none, lanes, 2));
}
VECTOR vec v_hold(vec value) {
    __asm__("" : "+v"(value));
    return value;
}

#include "inference/worker/kernels_body.h"
#else
extern int kernels_avx512_absent; /* a file is never empty */
#endif
