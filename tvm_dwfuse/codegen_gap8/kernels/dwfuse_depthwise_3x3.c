/* Depthwise 3x3 of strides 1 and 2 on planes: strips of four output columns, each for all channels. */
#include "dwfuse_planes.h"
#include "dwfuse_slide.h"

/* Which edges of the image a strip's window reaches over. */
static int edges_of(const dwfuse_planes *x, int stride, int column) {
    const int begin = column * stride - x->pad_left, end = begin + 3 * stride + 3;
    return (begin < 0 ? DWFUSE_LEFT_EDGE : 0) | (end > x->width ? DWFUSE_RIGHT_EDGE : 0);
}

static dwfuse_strip make_strip(const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *y) {
    const int stride = f->stride_w, needed = (y->rows - 1) * stride + 3 - x->top;
    const int bottom = needed > x->rows, rows = y->rows - bottom;
    return (dwfuse_strip){
        .top = x->top,
        .rows = rows,
        .pairs = rows / 2,
        .bottom = bottom,
        .x_next = x->channel - (needed - bottom) * x->row,
        .y_next = y->channel - y->rows * y->row,
        .w_end = f->w + 12 * f->channels,
        .row = x->row,
        .pixel = y->pixel,
        .next_row = y->row - 3 * y->pixel,
        .shift = f->shift,
        .pad = x->pad,
    };
}

DWFUSE_INLINE void strip(int stride, int edges, const dwfuse_strip *s, const dwfuse_filters *f, const uint8_t *x,
                         uint8_t *y) {
    if (stride == 1)
        dwfuse_strip_1(edges, s, f->w, f->q, x, y);
    else
        dwfuse_strip_2(edges, s, f->w, f->q, x, y);
}

DWFUSE_INLINE void strips(int stride, const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *y) {
    const int last_column = y->width - 4, right = edges_of(x, stride, last_column) & DWFUSE_RIGHT_EDGE;
    const dwfuse_strip s = make_strip(x, f, y);
    const uint8_t *second_column = x->first - x->pad_left + 1;
    int edges = x->pad_left ? DWFUSE_LEFT_EDGE : 0;
    for (int column = 0;;) {
        const uint8_t *from = second_column + column * stride;
        uint8_t *to = y->start + column * y->pixel;
        if (column == last_column) edges |= right;
        if (edges == 0)
            strip(stride, 0, &s, f, from, to);
        else if (edges == DWFUSE_LEFT_EDGE)
            strip(stride, DWFUSE_LEFT_EDGE, &s, f, from, to);
        else if (edges == DWFUSE_RIGHT_EDGE)
            strip(stride, DWFUSE_RIGHT_EDGE, &s, f, from, to);
        else
            strip(stride, DWFUSE_LEFT_EDGE | DWFUSE_RIGHT_EDGE, &s, f, from, to);
        if (column == last_column) return;
        column = dwfuse_opaque(dwfuse_min(column + 4, last_column)); /* the last strip may repeat columns */
        edges = 0;
    }
}

/* Two functions, as each fits the instruction cache and both do not. */
static __attribute__((noinline)) void stride_1(const dwfuse_planes *x, const dwfuse_filters *f,
                                               const dwfuse_output *y) {
    strips(1, x, f, y);
}

static __attribute__((noinline)) void stride_2(const dwfuse_planes *x, const dwfuse_filters *f,
                                               const dwfuse_output *y) {
    strips(2, x, f, y);
}

void dwfuse_planes_3x3(const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *y) {
    if (f->stride_w == 1)
        stride_1(x, f, y);
    else
        stride_2(x, f, y);
}

void dwfuse_row_3x3(const uint8_t *const rows[3], const dwfuse_planes *x, const dwfuse_filters *f,
                    const dwfuse_output *y) {
    const dwfuse_pixels padding = dwfuse_padding_row(x->pad);
    const int stride = f->stride_w;
    const dwfuse_strip s = make_strip(x, f, y);
    for (int column = 0; column < y->width; column += 4) {
        if (column > y->width - 4) column = y->width - 4;
        const int second_column = column * stride - x->pad_left + 1, edges = edges_of(x, stride, column);
        for (int c = 0; c < f->channels; c++) {
            const int offset = c * x->channel + second_column;
            dwfuse_pixels words[3];
            for (int i = 0; i < 3; i++)
                words[i] = rows[i] ? dwfuse_load_row(stride, edges, rows[i] + offset, x->pad) : padding;
            uint8_t *to = y->start + c * y->channel + column * y->pixel;
            dwfuse_store_row(words[0], words[1], words[2], f->w + 12 * c, f->q + 2 * c, &s, to);
        }
    }
}
