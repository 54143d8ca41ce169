/* Depthwise convolution: straight from CHW rows where the 3x3 kernels can, else by way of planes in scratch. */
#include "dwfuse_kernels.h"
#include "dwfuse_planes.h"

/* Planes in scratch; depthwise_scratch in scratch.py computes their size alike. Image columns start on a word. */
typedef struct {
    uint8_t *start;  /* of the first plane's first row, padding included if there is some */
    int row, plane;  /* distances in bytes */
    int rows, width; /* that the outputs read, in the image or not */
    int top, left;   /* padding in memory before the image */
} staging;

/* Whether the 3x3 kernels do it, which hold padding of one pixel in registers. */
static int is_narrow(const dwfuse_view *x, const dwfuse_filters *f, const dwfuse_output *y) {
    const int stride = f->stride_h, is_3x3 = f->kernel_h == 3 && f->kernel_w == 3;
    if (!is_3x3 || stride != f->stride_w || stride > 2 || y->width < 4) return 0;
    const int bottom = (y->rows - 1) * stride + 3 - x->pad_top - x->rows;
    const int right = (y->width - 1) * stride + 3 - x->pad_left - x->width;
    return x->pad_top <= 1 && x->pad_left <= 1 && bottom <= 1 && right <= 1;
}

static int planes_at_a_time(const dwfuse_view *x, int channels) {
    return x->channel == 1 && channels >= 4 ? 4 : 1;
}

/* For output rows [out_row, out_row + out_rows). A word between planes keeps them out of one memory bank. */
static staging lay_out(uint8_t *scratch, const dwfuse_view *x, const dwfuse_filters *f, const dwfuse_output *y,
                       int out_row, int out_rows, int has_padding) {
    const int last_column = (y->width - 1) * f->stride_w, reach = (f->kernel_w + 3) & -4; /* of the last word of taps */
    staging s = {.start = scratch, .width = last_column + f->kernel_w};
    s.rows = (out_rows - 1) * f->stride_h + f->kernel_h;
    s.row = (s.width - x->pad_left + 3) & -4;
    if (has_padding) {
        const int unused = -x->pad_left & 3;
        s.start += unused;
        s.row = (unused + last_column + reach + 3) & -4;
        s.top = dwfuse_max(x->pad_top - out_row * f->stride_h, 0), s.left = x->pad_left;
    }
    s.plane = s.rows * s.row + 4;
    return s;
}

static void stage_bytes(const uint8_t *from, int pixel, int columns, uint8_t *to) {
    if (pixel == 1) {
        dwfuse_copy(to, from, columns);
        return;
    }
    for (int j = 0; j < columns; j++) to[j] = from[j * pixel];
}

/* Rows that lie one after the other, four HWC channels into four planes; the last columns may be written twice. */
static void stage_transposed(const uint8_t *from, const dwfuse_view *x, int rows, int columns, uint8_t *to,
                             const staging *s) {
    const int last = columns - 4;
    dwfuse_transpose_rows(from, x->pixel, x->row, to, s->plane, s->row, columns >> 2, rows);
    if (columns & 3)
        dwfuse_transpose_rows(from + last * x->pixel, x->pixel, x->row, to + last, s->plane, s->row, 1, rows);
}

static void stage_rows(const uint8_t *from, const dwfuse_view *x, int rows, int columns, int planes, uint8_t *to,
                       const staging *s) {
    if (planes == 4 && columns >= 4) {
        stage_transposed(from, x, rows, columns, to, s);
        return;
    }
    for (; rows > 0; rows--, from += x->row, to += s->row)
        for (int i = 0; i < planes; i++) stage_bytes(from + i * x->channel, x->pixel, columns, to + i * s->plane);
}

/* Rows of the image that a band reads: in two pieces if they go over the ring's end. */
typedef struct {
    const uint8_t *first, *second;
    int rows, second_rows;
} pieces;

static pieces pieces_of(const dwfuse_view *x, int begin, int end) {
    const int slot = x->first + begin, rows = dwfuse_max(dwfuse_min(x->ring - slot, end - begin), 0);
    const uint8_t *second = x->start + (slot + rows - x->ring) * x->row;
    return (pieces){x->start + slot * x->row, second, rows, end - begin - rows};
}

static void stage(const pieces *p, const dwfuse_view *x, int channel, int planes, int columns, const staging *s) {
    uint8_t *to = s->start + s->top * s->row + s->left;
    const int offset = channel * x->channel;
    if (p->rows > 0) stage_rows(p->first + offset, x, p->rows, columns, planes, to, s);
    if (p->second_rows == 0) return;
    stage_rows(p->second + offset, x, p->second_rows, columns, planes, to + p->rows * s->row, s);
}

/* On planes that hold their padding. */
static void run_padded(const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *y) {
    const int is_5x5 = f->kernel_h == 5 && f->kernel_w == 5 && f->stride_h == f->stride_w && f->stride_w <= 2;
    if (is_5x5 && y->width >= 4)
        dwfuse_planes_5x5(x, f, y);
    else
        dwfuse_planes_any(x, f, y);
}

static dwfuse_output rows_of_output(const dwfuse_output *y, int begin, int end) {
    return (dwfuse_output){y->start + begin * y->row, y->row, y->pixel, y->channel, end - begin, y->width};
}

/* Output rows [out_row, out_end), four HWC channels or one CHW channel at a time. */
static void run_band(const dwfuse_view *x, const dwfuse_filters *f, const dwfuse_output *y, int out_row, int out_end,
                     uint8_t *scratch) {
    const int narrow = is_narrow(x, f, y), planes = planes_at_a_time(x, f->channels);
    const int filter_bytes = f->kernel_h * ((f->kernel_w + 3) & -4);
    const int first = out_row * f->stride_h - x->pad_top, begin = dwfuse_max(first, 0);
    const staging s = lay_out(scratch, x, f, y, out_row, out_end - out_row, !narrow);
    const int end = dwfuse_min(first + s.rows, x->rows), columns = dwfuse_min(x->width, s.width - x->pad_left);
    const pieces rows = pieces_of(x, begin, end);
    const dwfuse_planes staged = {s.start, s.row, s.plane, end - begin, begin - first, x->width, x->pad_left,
                                  dwfuse_splat(x->pad_value)};
    dwfuse_output out = rows_of_output(y, out_row, out_end);
    dwfuse_filters filters = *f;
    filters.channels = planes;
    if (!narrow) dwfuse_fill(scratch, x->pad_value, planes * s.plane);
    for (int c = 0; c < f->channels; c += planes) {
        if (c > f->channels - planes) c = f->channels - planes; /* computes some channels again */
        stage(&rows, x, c, planes, columns, &s);
        filters.w = f->w + c * filter_bytes, filters.q = f->q + 2 * c;
        out.start = y->start + out_row * y->row + c * y->channel;
        if (narrow)
            dwfuse_planes_3x3(&staged, &filters, &out);
        else
            run_padded(&staged, &filters, &out);
    }
}

/* `row` rows further down, of which `rows` are there; the outputs read `top` rows of padding first. */
static dwfuse_planes planes_from(const dwfuse_view *x, int row, int rows, int top) {
    const uint8_t *first = dwfuse_row(x, row);
    const dwfuse_word pad = dwfuse_splat(x->pad_value);
    return (dwfuse_planes){first, x->row, x->channel, rows, top, x->width, x->pad_left, pad};
}

/* An output row of which some input rows lie before the ring's end and some after it. */
static void run_across(const dwfuse_view *x, const dwfuse_filters *f, const dwfuse_output *y, int out_row) {
    const uint8_t *rows[3];
    for (int i = 0; i < 3; i++) {
        const int row = out_row * f->stride_h - x->pad_top + i;
        rows[i] = row < 0 || row >= x->rows ? 0 : dwfuse_row(x, row);
    }
    const dwfuse_planes planes = planes_from(x, 0, x->rows, 0);
    const dwfuse_output out = rows_of_output(y, out_row, out_row + 1);
    dwfuse_row_3x3(rows, &planes, f, &out);
}

static void run_direct(const dwfuse_view *x, const dwfuse_filters *f, const dwfuse_output *y) {
    const int before_end = x->ring - x->first, stride = f->stride_h;
    if (x->rows <= before_end) {
        const dwfuse_planes planes = planes_from(x, 0, x->rows, x->pad_top);
        dwfuse_planes_3x3(&planes, f, y);
        return;
    }
    int across = 0, after = 0; /* the first output rows that read across the ring's end, and after it only */
    while (across < y->rows && across * stride - x->pad_top + 2 < before_end) across++;
    while (after < y->rows && after * stride - x->pad_top < before_end) after++;
    if (across > 0) {
        const dwfuse_planes planes = planes_from(x, 0, before_end, x->pad_top);
        const dwfuse_output out = rows_of_output(y, 0, across);
        dwfuse_planes_3x3(&planes, f, &out);
    }
    for (int out_row = across; out_row < after; out_row++) run_across(x, f, y, out_row);
    if (after < y->rows) {
        const int row = after * stride - x->pad_top;
        const dwfuse_planes planes = planes_from(x, row, x->rows - row, 0);
        const dwfuse_output out = rows_of_output(y, after, y->rows);
        dwfuse_planes_3x3(&planes, f, &out);
    }
}

void dwfuse_depthwise(const uint8_t *x, int x_row, int x_pixel, int x_channel, int ring, int first, int rows, int width,
                      int kernel_h, int kernel_w, int stride_h, int stride_w, int pad_top, int pad_left, int pad_value,
                      int out_rows, int out_width, int band, int channels, const int8_t *w, const int32_t *q, int shift,
                      uint8_t *y, int y_row, int y_pixel, int y_channel, uint8_t *scratch) {
    const dwfuse_view view = {x, x_row, x_pixel, x_channel, ring, first, rows, width, pad_top, pad_left, pad_value};
    const dwfuse_filters filters = {w, q, channels, shift, kernel_h, kernel_w, stride_h, stride_w};
    const dwfuse_output out = {y, y_row, y_pixel, y_channel, out_rows, out_width};
    if (x_pixel == 1 && is_narrow(&view, &filters, &out)) {
        run_direct(&view, &filters, &out);
        return;
    }
    for (int row = 0; row < out_rows; row += band)
        run_band(&view, &filters, &out, row, dwfuse_min(row + band, out_rows), scratch);
}
