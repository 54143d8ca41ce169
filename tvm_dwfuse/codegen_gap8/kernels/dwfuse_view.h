/* The input of a convolution as its kernels see it: rows in a ring, surrounded by padding. */
#ifndef DWFUSE_VIEW_H
#define DWFUSE_VIEW_H

#include "dwfuse_simd.h"

typedef struct {
    const uint8_t *start;
    int row, pixel, channel; /* distances in bytes */
    int ring, first;         /* rows the ring has room for; where the view's row 0 is in it */
    int rows, width;         /* outside is padding */
    int pad_top, pad_left, pad_value;
} dwfuse_view;

DWFUSE_INLINE const uint8_t *dwfuse_row(const dwfuse_view *x, int row) {
    int slot = x->first + row;
    while (slot >= x->ring) slot -= x->ring; /* a division takes 33 cycles */
    return x->start + slot * x->row;
}

DWFUSE_INLINE int dwfuse_min(int a, int b) {
    return a < b ? a : b;
}

DWFUSE_INLINE int dwfuse_max(int a, int b) {
    return a > b ? a : b;
}

/* Eight bytes at a time; the last word may repeat bytes. Not inlined: see dwfuse_opaque. */
static __attribute__((noinline, unused)) void dwfuse_copy(uint8_t *to, const uint8_t *from, int bytes) {
    const int pairs = bytes >> 3, done = bytes & -8;
    if (bytes < 4) {
        for (int i = 0; i < bytes; i++) to[i] = from[i];
        return;
    }
    if (pairs > 0) dwfuse_copy_pairs(to, from, pairs);
    if (bytes == done) return;
    if (bytes - done > 4) dwfuse_store(to + done, dwfuse_load(from + done));
    dwfuse_store(to + bytes - 4, dwfuse_load(from + bytes - 4));
}

DWFUSE_INLINE void dwfuse_fill(uint8_t *to, int value, int bytes) {
    const dwfuse_word word = dwfuse_splat(value);
    int i = 0;
    for (; i < bytes - 15; i += 16) {
        dwfuse_store(to + i, word);
        dwfuse_store(to + i + 4, word);
        dwfuse_store(to + i + 8, word);
        dwfuse_store(to + i + 12, word);
    }
    for (; i < bytes - 3; i += 4) dwfuse_store(to + i, word);
    for (; i < bytes; i++) to[i] = (uint8_t)value;
}

#endif
