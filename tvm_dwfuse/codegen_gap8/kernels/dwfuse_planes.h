/* Depthwise kernels on planes: one image a channel, pixels side by side. */
#ifndef DWFUSE_PLANES_H
#define DWFUSE_PLANES_H

#include "dwfuse_view.h"

/* One image a channel, its rows one after the other. */
typedef struct {
    const uint8_t *first; /* pixel of the first row */
    int row, channel;     /* distances in bytes */
    int rows;
    int top; /* rows of padding that the outputs read above; below are as many as they read */
    int width, pad_left;
    dwfuse_word pad; /* four bytes of padding */
} dwfuse_planes;

typedef struct {
    const int8_t *w;
    const int32_t *q;
    int channels, shift;
    int kernel_h, kernel_w, stride_h, stride_w;
} dwfuse_filters;

typedef struct {
    uint8_t *start;
    int row, pixel, channel; /* distances in bytes */
    int rows, width;
} dwfuse_output;

/* 3x3, strides both 1 or both 2, at least four output columns, at most one row or column of padding on a side. */
void dwfuse_planes_3x3(const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *y);

/* The same for one output row, given its three input rows where they lie; null is a row of padding. */
void dwfuse_row_3x3(const uint8_t *const rows[3], const dwfuse_planes *x, const dwfuse_filters *f,
                    const dwfuse_output *y);

/* 5x5, strides both 1 or both 2, at least four output columns; padding is in memory. */
void dwfuse_planes_5x5(const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *y);

/* Any geometry; padding is in memory. */
void dwfuse_planes_any(const dwfuse_planes *x, const dwfuse_filters *f, const dwfuse_output *y);

#endif
