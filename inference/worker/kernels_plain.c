/* Kernels for every machine: the compiler's own vectors of 4 floats, which it takes apart where the
 * machine has none. */
#include "inference/worker/kernels_sets.h"
#include <string.h>

#define KERNELS_TABLE kernels_plain
#define KERNELS_NAME  "plain"
#define KERNELS_ISA
#define LANES  4
#define ROWS   4
#define VECTOR static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef unsigned lanes __attribute__((vector_size(LANES * sizeof(unsigned))));

VECTOR vec v_load(const float *from) {
    vec value;
    memcpy(&value, from, sizeof(value));
    return value;
}
VECTOR void v_store(float *to, vec value) {
    memcpy(to, &value, sizeof(value));
}
VECTOR void v_store_part(float *to, vec value, size_t count) {
    memcpy(to, &value, count * sizeof(*to));
}
VECTOR vec v_set(float value) {
    return (vec){value, value, value, value};
}
VECTOR vec v_add(vec a, vec b) {
    return a + b;
}
VECTOR vec v_mul(vec a, vec b) {
    return a * b;
}
VECTOR vec v_div(vec a, vec b) {
    return a / b;
}
VECTOR vec v_fma(vec a, vec b, vec c) {
    return a * b + c;
}
/* A comparison gives all bits of a lane, or none: no branch for each float. */
VECTOR vec v_max(vec a, vec b) {
    lanes above = (lanes)(a > b);
    return (vec)(((lanes)a & above) | ((lanes)b & ~above));
}
VECTOR vec v_min(vec a, vec b) {
    lanes below = (lanes)(a < b);
    return (vec)(((lanes)a & below) | ((lanes)b & ~below));
}
VECTOR vec v_load_even(const float *from) {
    return (vec){from[0], from[2], from[4], from[6]};
}
VECTOR vec v_load_odd(const float *from) {
    return (vec){from[1], from[3], from[5], from[7]};
}
VECTOR vec v_power(vec shifted) {
    return (vec)(((lanes)shifted << 23) + 0x3f800000u);
}

VECTOR vec v_later(vec value, const int by) {
    return by == 1 ? (vec){0, value[0], value[1], value[2]} : (vec){0, 0, value[0], value[1]};
}
VECTOR vec v_sooner(vec value, const int by) {
    return by == 1 ? (vec){value[1], value[2], value[3], 0} : (vec){value[2], value[3], 0, 0};
}
VECTOR vec v_hold(vec value) {
    return value;
}

#include "inference/worker/kernels_body.h"
