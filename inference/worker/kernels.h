/* kernels: the three inner loops where Debian's Darknet spends its time, again and faster.
 *
 * darknet.c puts them in the place of the library's own by symbol: same contract, equal within
 * rounding. Thread: any; no state but the choice of instruction set, made on first use.
 */
#ifndef CREEL_INFERENCE_WORKER_KERNELS_H
#define CREEL_INFERENCE_WORKER_KERNELS_H

/* c (rows x columns, row stride ldc) += alpha * a (rows x depth, lda) * b (depth x columns, ldb).
 */
void kernels_gemm(int rows, int columns, int depth, float alpha, const float *a, int lda,
                  const float *b, int ldb, float *c, int ldc);

/* Unfolds `channels` planes of height x width into (channels * size * size) rows of output pixels,
 * so that a convolution becomes a product of matrices. Outside the image is zero. */
void kernels_unfold(const float *image, int channels, int height, int width, int size, int stride,
                    int pad, float *out);

void kernels_leaky(float *values, int count);
void kernels_logistic(float *values, int count);

#endif
