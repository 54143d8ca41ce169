/* Depthwise kernels other than 3x3, on planes that hold their padding. */
#include "dwfuse_planes.h"

/* Taps 0 to 3 of a kernel row with the word that starts at the output's first pixel, tap 4 with the next output's. */
DWFUSE_INLINE void row_of_5(const uint8_t *at, dwfuse_word taps, dwfuse_word tap_4, int stride, dwfuse_sums *sums) {
    dwfuse_word first = dwfuse_load(at), second = dwfuse_load(at + stride), third = dwfuse_load(at + 2 * stride);
    dwfuse_word fourth = dwfuse_load(at + 3 * stride), fifth = dwfuse_load(at + 4 * stride);
    sums->a = dwfuse_dot_add(second, tap_4, dwfuse_dot_add(first, taps, sums->a));
    sums->b = dwfuse_dot_add(third, tap_4, dwfuse_dot_add(second, taps, sums->b));
    sums->c = dwfuse_dot_add(fourth, tap_4, dwfuse_dot_add(third, taps, sums->c));
    sums->d = dwfuse_dot_add(fifth, tap_4, dwfuse_dot_add(fourth, taps, sums->d));
}

typedef struct {
    dwfuse_word taps, tap_4;
} filter_row;

DWFUSE_INLINE filter_row load_filter_row(const int8_t *w, int stride) {
    return (filter_row){dwfuse_load(w), dwfuse_load(w + 4) << 8 * (4 - stride)};
}

DWFUSE_INLINE void planes_5x5(int stride, const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *out) {
    const int x_row = x->row, y_row = out->row, y_pixel = out->pixel, shift = f->shift;
    for (int c = 0; c < f->channels; c++) {
        const int8_t *w = f->w + 40 * c;
        const int32_t multiplier = f->q[2 * c], offset = f->q[2 * c + 1];
        const filter_row w0 = load_filter_row(w, stride), w1 = load_filter_row(w + 8, stride);
        const filter_row w2 = load_filter_row(w + 16, stride), w3 = load_filter_row(w + 24, stride);
        const filter_row w4 = load_filter_row(w + 32, stride);
        for (int column = 0; column < out->width; column += 4) {
            if (column > out->width - 4) column = out->width - 4;
            const uint8_t *at = x->first + c * x->channel + column * stride;
            uint8_t *y = out->start + c * out->channel + column * y_pixel, *end = y + out->rows * y_row;
            for (; y != end; at += stride * x_row) {
                dwfuse_sums sums = {0, 0, 0, 0};
                row_of_5(at, w0.taps, w0.tap_4, stride, &sums);
                row_of_5(at + x_row, w1.taps, w1.tap_4, stride, &sums);
                row_of_5(at + 2 * x_row, w2.taps, w2.tap_4, stride, &sums);
                row_of_5(at + 3 * x_row, w3.taps, w3.tap_4, stride, &sums);
                row_of_5(at + 4 * x_row, w4.taps, w4.tap_4, stride, &sums);
                sums = dwfuse_requantize_four(sums, multiplier, offset, shift);
                y = dwfuse_store_bytes(y, y_pixel, y_row - 3 * y_pixel, sums);
            }
        }
    }
}

void dwfuse_planes_5x5(const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *y) {
    if (f->stride_w == 1)
        planes_5x5(1, x, f, y);
    else
        planes_5x5(2, x, f, y);
}

/* Four neighbouring outputs. */
DWFUSE_INLINE dwfuse_sums four_columns(const uint8_t *at, int x_row, const int8_t *w, const dwfuse_filters *f) {
    const int stride = f->stride_w, width = f->kernel_w;
    dwfuse_sums sums = {0, 0, 0, 0};
    for (int rows = f->kernel_h; rows > 0; rows--, at += x_row)
        for (int t = 0; t < width; t += 4, w += 4) {
            const dwfuse_word taps = dwfuse_load(w);
            const uint8_t *from = at + t;
            const dwfuse_word a = dwfuse_load(from), b = dwfuse_load(from + stride);
            const dwfuse_word c = dwfuse_load(from + 2 * stride), d = dwfuse_load(from + 3 * stride);
            sums.a = dwfuse_dot_add(a, taps, sums.a);
            sums.b = dwfuse_dot_add(b, taps, sums.b);
            sums.c = dwfuse_dot_add(c, taps, sums.c);
            sums.d = dwfuse_dot_add(d, taps, sums.d);
        }
    return sums;
}

DWFUSE_INLINE int32_t one_column(const uint8_t *at, int x_row, const int8_t *w, const dwfuse_filters *f) {
    int32_t sum = 0;
    for (int i = 0; i < f->kernel_h; i++, at += x_row)
        for (int t = 0; t < f->kernel_w; t += 4, w += 4) sum = dwfuse_dot_add(dwfuse_load(at + t), dwfuse_load(w), sum);
    return sum;
}

void dwfuse_planes_any(const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *out) {
    const int filter_bytes = f->kernel_h * ((f->kernel_w + 3) & -4), pixel = out->pixel;
    for (int c = 0; c < f->channels; c++)
        for (int row = 0; row < out->rows; row++) {
            const uint8_t *at = x->first + c * x->channel + row * f->stride_h * x->row;
            const int8_t *w = f->w + c * filter_bytes;
            const int32_t *q = f->q + 2 * c;
            uint8_t *y = out->start + c * out->channel + row * out->row;
            int left = out->width;
            for (; left >= 4; left -= 4, at += 4 * f->stride_w) {
                const dwfuse_sums sums = four_columns(at, x->row, w, f);
                y = dwfuse_store_bytes(y, pixel, pixel, dwfuse_requantize_four(sums, q[0], q[1], f->shift));
            }
            for (; left > 0; left--, at += f->stride_w, y += pixel)
                *y = (uint8_t)dwfuse_requantize(one_column(at, x->row, w, f), q[0], q[1], f->shift);
        }
}
