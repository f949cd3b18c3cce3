/* Kernels for NEON on 64-bit Arm, where it is never absent: 32 registers of 4 floats. */
#include "inference/worker/kernels_sets.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define KERNELS_TABLE kernels_neon
#define KERNELS_NAME  "neon"
#define KERNELS_ISA
#define LANES  4
#define ROWS   8
#define VECTOR static inline __attribute__((always_inline))

typedef float32x4_t vec;

VECTOR vec v_load(const float *from) {
    return vld1q_f32(from);
}
VECTOR void v_store(float *to, vec value) {
    vst1q_f32(to, value);
}
VECTOR void v_store_part(float *to, vec value, size_t count) {
    float values[LANES];
    vst1q_f32(values, value);
    __builtin_memcpy(to, values, count * sizeof(*values));
}
VECTOR vec v_set(float value) {
    return vdupq_n_f32(value);
}
VECTOR vec v_add(vec a, vec b) {
    return vaddq_f32(a, b);
}
VECTOR vec v_mul(vec a, vec b) {
    return vmulq_f32(a, b);
}
VECTOR vec v_div(vec a, vec b) {
    return vdivq_f32(a, b);
}
VECTOR vec v_fma(vec a, vec b, vec c) {
    return vfmaq_f32(c, a, b);
}
/* not vmaxq_f32: what is not a number must do here what it does on x86 */
VECTOR vec v_max(vec a, vec b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
VECTOR vec v_min(vec a, vec b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
VECTOR vec v_load_even(const float *from) {
    return vld2q_f32(from).val[0];
}
VECTOR vec v_load_odd(const float *from) {
    return vld2q_f32(from).val[1];
}
VECTOR vec v_power(vec shifted) {
    int32x4_t exponent = vshlq_n_s32(vreinterpretq_s32_f32(shifted), 23);
    return vreinterpretq_f32_s32(vaddq_s32(exponent, vdupq_n_s32(0x3f800000)));
}

VECTOR vec v_later(vec value, const int by) {
    return by == 1 ? vextq_f32(vdupq_n_f32(0), value, 3) : vextq_f32(vdupq_n_f32(0), value, 2);
}
VECTOR vec v_sooner(vec value, const int by) {
    return by == 1 ? vextq_f32(value, vdupq_n_f32(0), 1) : vextq_f32(value, vdupq_n_f32(0), 2);
}
VECTOR vec v_hold(vec value) {
    __asm__("" : "+w"(value));
    return value;
}

#include "inference/worker/kernels_body.h"
#else
extern int kernels_neon_absent; /* a file is never empty */
#endif
