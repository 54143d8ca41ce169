/* The integer kernels that generated code calls: each computes one core's share of a layer.
 *
 * Activations are uint8, weights int8, accumulators int32. A convolution's output is
 *     y = clip((m[c] * acc + l[c]) >> shift, 0, 255),    q = {m[0], l[0], m[1], l[1], ...}.
 * `x_pixel`, `x_channel`, `x_row` and the like are distances in bytes: HWC has a channel distance of 1, CHW a pixel
 * distance of 1. Word access is used throughout but no alignment is needed, except that of `q` and of `scratch` to 4.
 * No pointer may alias an output. Scratch belongs to the core; tvm_dwfuse/codegen_gap8/kernels/scratch.py has its size.
 */
#ifndef DWFUSE_KERNELS_H
#define DWFUSE_KERNELS_H

#include <stdint.h>

/* acc[p][c] = sum over j < k of w[c * k + j] * x[p * x_pixel + j], stored at y[p * y_pixel + c * y_channel].
 * k is a multiple of 4; a pixel with fewer channels is read up to k, times zero weights. */
void dwfuse_pointwise(const uint8_t *x, int x_pixel, int pixels, const int8_t *w, int k, const int32_t *q, int channels,
                      int shift, uint8_t *y, int y_pixel, int y_channel);

/* Any convolution with groups = 1, output pixels pixel_begin <= p < pixel_end of the out_width wide output.
 * Row r in [0, rows) of the input lies at x + ((first + r) % ring) * x_row; everything outside is pad_value.
 * Output pixel p = o * out_width + j reads rows o * stride_h - pad_top + i, columns j * stride_w - pad_left + t.
 * w: rows of k bytes, ordered (kernel row, kernel column, input channel), zero filled to a multiple of 4. */
void dwfuse_conv(const uint8_t *x, int x_row, int x_pixel, int x_channel, int ring, int first, int rows, int width,
                 int in_channels, int kernel_h, int kernel_w, int stride_h, int stride_w, int pad_top, int pad_left,
                 int pad_value, int out_width, int pixel_begin, int pixel_end, const int8_t *w, int k, const int32_t *q,
                 int channels, int shift, uint8_t *y, int y_pixel, int y_channel, uint8_t *scratch);

/* One filter a channel; the input as in dwfuse_conv. x, y, w and q point at the core's first channel.
 * w: per channel kernel_h rows of kernel_w bytes, each row zero filled to a multiple of 4.
 * `band` output rows are staged at a time; without staging (see depthwise_scratch) it is not used. */
void dwfuse_depthwise(const uint8_t *x, int x_row, int x_pixel, int x_channel, int ring, int first, int rows, int width,
                      int kernel_h, int kernel_w, int stride_h, int stride_w, int pad_top, int pad_left, int pad_value,
                      int out_rows, int out_width, int band, int channels, const int8_t *w, const int32_t *q, int shift,
                      uint8_t *y, int y_row, int y_pixel, int y_channel, uint8_t *scratch);

/* y[c] = clip((multiplier * sum of the channel's pixels + offset) >> shift). */
void dwfuse_average_pool(const uint8_t *x, int x_pixel, int x_channel, int pixels, int channels, int multiplier,
                         int offset, int shift, uint8_t *y);

/* y[i] = clip((multiplier_a * a[i] + multiplier_b * b[i] + offset) >> shift). */
void dwfuse_add(const uint8_t *a, const uint8_t *b, int count, int multiplier_a, int multiplier_b, int offset,
                int shift, uint8_t *y);

#endif
