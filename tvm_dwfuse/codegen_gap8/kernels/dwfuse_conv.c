/* Convolution: what four output pixels read is gathered side by side, then it is a pointwise convolution. What lies in
 * scratch between a pixel's last byte and k meets zero weights. */
#include "dwfuse_kernels.h"
#include "dwfuse_tile.h"
#include "dwfuse_view.h"

typedef struct {
    int channels, kernel_h, kernel_w;
    int is_run; /* whether neighbouring pixels are neighbours in memory */
} window;

/* One kernel row of one pixel, (kernel column, channel) ordered, from columns [column, column + kernel_w). */
DWFUSE_INLINE void gather_row(const dwfuse_view *x, const uint8_t *row, int column, const window *f, uint8_t *to) {
    int left = dwfuse_min(dwfuse_max(-column, 0), f->kernel_w);
    int right = dwfuse_max(dwfuse_min(x->width - column, f->kernel_w), left);
    dwfuse_fill(to, x->pad_value, left * f->channels);
    const uint8_t *from = row + (column + left) * x->pixel;
    uint8_t *middle = to + left * f->channels;
    if (f->is_run) {
        dwfuse_copy(middle, from, (right - left) * f->channels);
    } else {
        for (int t = left; t < right; t++, from += x->pixel)
            for (int c = 0; c < f->channels; c++) *middle++ = from[c * x->channel];
    }
    dwfuse_fill(to + right * f->channels, x->pad_value, (f->kernel_w - right) * f->channels);
}

/* Output pixels `step` bytes apart whose windows are inside an HWC image: kernel rows are runs of bytes. */
static void gather_runs(const uint8_t *from, int x_row, int step, int pixels, int kernel_h, int bytes, uint8_t *to,
                        int k) {
    for (; pixels > 0; pixels--, from += step, to += k) {
        const uint8_t *run = from;
        uint8_t *end = to;
        for (int i = kernel_h; i > 0; i--, run += x_row, end += bytes) {
            if (bytes < 4 || bytes > 24) {
                dwfuse_copy(end, run, bytes);
                continue;
            }
            for (int j = 0; j < bytes - 4; j += 4) dwfuse_store(end + j, dwfuse_load(run + j));
            dwfuse_store(end + bytes - 4, dwfuse_load(run + bytes - 4));
        }
    }
}

/* All that one output pixel reads, from row `top`, column `left` on. */
static void gather(const dwfuse_view *x, int top, int left, const window *f, uint8_t *to) {
    const int bytes = f->kernel_w * f->channels, bottom = top + f->kernel_h;
    const int inside = top >= 0 && bottom <= x->rows && left >= 0 && left + f->kernel_w <= x->width;
    if (inside && f->is_run && x->first + bottom <= x->ring) {
        const uint8_t *from = x->start + (x->first + top) * x->row + left * x->pixel;
        gather_runs(from, x->row, 0, 1, f->kernel_h, bytes, to, 0);
        return;
    }
    for (int i = 0; i < f->kernel_h; i++, to += bytes) {
        if (top + i < 0 || top + i >= x->rows)
            dwfuse_fill(to, x->pad_value, bytes);
        else
            gather_row(x, dwfuse_row(x, top + i), left, f, to);
    }
}

/* Four neighbouring pixels of a CHW image, four channels at a time; the last four channels may repeat some. */
static void gather_pixels(const uint8_t *x, int x_channel, int channels, uint8_t *to, int k) {
    const int last = channels - 4;
    dwfuse_transpose_rows(x, x_channel, 0, to, k, 0, channels >> 2, 1);
    if (channels & 3) dwfuse_transpose_rows(x + last * x_channel, x_channel, 0, to + last, k, 0, 1, 1);
}

void dwfuse_conv(const uint8_t *x, int x_row, int x_pixel, int x_channel, int ring, int first, int rows, int width,
                 int in_channels, int kernel_h, int kernel_w, int stride_h, int stride_w, int pad_top, int pad_left,
                 int pad_value, int out_width, int pixel_begin, int pixel_end, const int8_t *w, int k, const int32_t *q,
                 int channels, int shift, uint8_t *y, int y_pixel, int y_channel, uint8_t *scratch) {
    const dwfuse_view view = {x, x_row, x_pixel, x_channel, ring, first, rows, width, pad_top, pad_left, pad_value};
    const window f = {in_channels, kernel_h, kernel_w, x_channel == 1 && x_pixel == in_channels};
    const int is_chw_pointwise = kernel_h == 1 && kernel_w == 1 && stride_w == 1 && in_channels >= 4 && x_pixel == 1;
    int out_row = pixel_begin / out_width, out_column = pixel_begin - out_row * out_width;
    for (int p = pixel_begin; p < pixel_end; p += DWFUSE_TILE) {
        const int pixels = dwfuse_min(pixel_end - p, DWFUSE_TILE);
        const int top = out_row * stride_h - pad_top, left = out_column * stride_w - pad_left;
        const int right = left + (DWFUSE_TILE - 1) * stride_w + kernel_w, bottom = top + kernel_h;
        const int inside = top >= 0 && bottom <= rows && left >= 0 && right <= width && pixels == DWFUSE_TILE &&
                           out_column + DWFUSE_TILE <= out_width;
        if (inside && is_chw_pointwise) {
            gather_pixels(dwfuse_row(&view, top) + left, x_channel, in_channels, scratch, k);
            out_column += DWFUSE_TILE;
        } else if (inside && f.is_run && first + bottom <= ring) {
            const uint8_t *from = x + (first + top) * x_row + left * x_pixel;
            gather_runs(from, x_row, stride_w * x_pixel, DWFUSE_TILE, kernel_h, kernel_w * in_channels, scratch, k);
            out_column += DWFUSE_TILE;
        } else {
            for (int i = 0; i < pixels; i++, out_column++) {
                if (out_column == out_width) out_row++, out_column = 0;
                gather(&view, out_row * stride_h - pad_top, out_column * stride_w - pad_left, &f, scratch + i * k);
            }
        }
        if (out_column == out_width) out_row++, out_column = 0;
        dwfuse_pointwise(scratch, k, pixels, w, k, q, channels, shift, y + p * y_pixel, y_pixel, y_channel);
    }
}
