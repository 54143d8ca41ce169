/* Pointwise convolution: register tiles over the pixels, and for each over the channels. */
#include "dwfuse_kernels.h"
#include "dwfuse_tile.h"

typedef struct {
    const int8_t *w;
    const int32_t *q;
    int k, channels, shift;
} filters;

typedef struct {
    uint8_t *start;
    int pixel, channel; /* distances in bytes */
} output;

/* Where the tile's channels are. */
typedef struct {
    const int8_t *w;
    const int32_t *q;
    uint8_t *y;
    int left; /* channels from here on */
} position;

DWFUSE_INLINE position first_channels(const filters *f, uint8_t *y) {
    return (position){f->w, f->q, y, f->channels};
}

/* Steps over a tile's channels; the last tile has four as well, and computes some of them again. */
DWFUSE_INLINE int next_channels(position *at, int k, int y_channel) {
    int step = DWFUSE_TILE;
    at->left = dwfuse_opaque(at->left - DWFUSE_TILE);
    if (at->left <= 0) return 0;
    at->w += DWFUSE_TILE * k, at->q += 2 * DWFUSE_TILE, at->y += DWFUSE_TILE * y_channel;
    step -= at->left;
    if (step > 0) at->w -= step * k, at->q -= 2 * step, at->y -= step * y_channel;
    return 1;
}

/* All channels of four pixels that lie k apart. */
static __attribute__((noinline)) void four_pixels(const uint8_t *x, const filters *f, uint8_t *y, const output *out) {
    const int k = f->k, shift = f->shift, y_pixel = out->pixel, y_channel = out->channel;
    position at = first_channels(f, y);
    do {
        dwfuse_tile t;
        dwfuse_tile_4(&t, x, at.w, k);
        const dwfuse_sums c0 = dwfuse_requantize_four(t.channel_0, at.q[0], at.q[1], shift);
        const dwfuse_sums c1 = dwfuse_requantize_four(t.channel_1, at.q[2], at.q[3], shift);
        const dwfuse_sums c2 = dwfuse_requantize_four(t.channel_2, at.q[4], at.q[5], shift);
        const dwfuse_sums c3 = dwfuse_requantize_four(t.channel_3, at.q[6], at.q[7], shift);
        uint8_t *to = at.y;
        if (y_channel == 1) {
            to = dwfuse_store_step(to, dwfuse_pack(c0.a, c1.a, c2.a, c3.a), y_pixel);
            to = dwfuse_store_step(to, dwfuse_pack(c0.b, c1.b, c2.b, c3.b), y_pixel);
            to = dwfuse_store_step(to, dwfuse_pack(c0.c, c1.c, c2.c, c3.c), y_pixel);
            dwfuse_store(to, dwfuse_pack(c0.d, c1.d, c2.d, c3.d));
        } else if (y_pixel == 1) {
            to = dwfuse_store_step(to, dwfuse_pack(c0.a, c0.b, c0.c, c0.d), y_channel);
            to = dwfuse_store_step(to, dwfuse_pack(c1.a, c1.b, c1.c, c1.d), y_channel);
            to = dwfuse_store_step(to, dwfuse_pack(c2.a, c2.b, c2.c, c2.d), y_channel);
            dwfuse_store(to, dwfuse_pack(c3.a, c3.b, c3.c, c3.d));
        } else {
            to = dwfuse_store_bytes(to, y_pixel, y_channel - 3 * y_pixel, c0);
            to = dwfuse_store_bytes(to, y_pixel, y_channel - 3 * y_pixel, c1);
            to = dwfuse_store_bytes(to, y_pixel, y_channel - 3 * y_pixel, c2);
            dwfuse_store_bytes(to, y_pixel, 0, c3);
        }
    } while (next_channels(&at, k, y_channel));
}

/* Requantizes and stores the four channels of one pixel. */
DWFUSE_INLINE void store_pixel(dwfuse_sums sums, const int32_t *q, int shift, uint8_t *y, int y_channel) {
    sums.a = dwfuse_requantize(sums.a, q[0], q[1], shift);
    sums.b = dwfuse_requantize(sums.b, q[2], q[3], shift);
    sums.c = dwfuse_requantize(sums.c, q[4], q[5], shift);
    sums.d = dwfuse_requantize(sums.d, q[6], q[7], shift);
    if (y_channel == 1)
        dwfuse_store(y, dwfuse_pack(sums.a, sums.b, sums.c, sums.d));
    else
        dwfuse_store_bytes(y, y_channel, 0, sums);
}

static __attribute__((noinline)) void two_pixels(const uint8_t *x, int x_pixel, const filters *f, uint8_t *y,
                                                 const output *out) {
    position at = first_channels(f, y);
    do {
        dwfuse_tile t;
        dwfuse_tile_2(&t, x, x_pixel, at.w, f->k);
        const dwfuse_sums first = {t.channel_0.a, t.channel_1.a, t.channel_2.a, t.channel_3.a};
        const dwfuse_sums second = {t.channel_0.b, t.channel_1.b, t.channel_2.b, t.channel_3.b};
        store_pixel(first, at.q, f->shift, at.y, out->channel);
        store_pixel(second, at.q, f->shift, at.y + out->pixel, out->channel);
    } while (next_channels(&at, f->k, out->channel));
}

static __attribute__((noinline)) void one_pixel(const uint8_t *x, const filters *f, uint8_t *y, const output *out) {
    position at = first_channels(f, y);
    do {
        dwfuse_tile t;
        dwfuse_tile_1(&t, x, at.w, f->k);
        const dwfuse_sums sums = {t.channel_0.a, t.channel_1.a, t.channel_2.a, t.channel_3.a};
        store_pixel(sums, at.q, f->shift, at.y, out->channel);
    } while (next_channels(&at, f->k, out->channel));
}

/* Fewer channels than a tile has. */
static void one_by_one(const uint8_t *x, int x_pixel, int pixels, const filters *f, const output *out) {
    for (int p = 0; p < pixels; p++)
        for (int c = 0; c < f->channels; c++) {
            int32_t sum = 0;
            for (int j = 0; j < f->k; j += 4)
                sum = dwfuse_dot_add(dwfuse_load(x + p * x_pixel + j), dwfuse_load(f->w + c * f->k + j), sum);
            out->start[p * out->pixel + c * out->channel] =
                (uint8_t)dwfuse_requantize(sum, f->q[2 * c], f->q[2 * c + 1], f->shift);
        }
}

void dwfuse_pointwise(const uint8_t *x, int x_pixel, int pixels, const int8_t *w, int k, const int32_t *q, int channels,
                      int shift, uint8_t *y, int y_pixel, int y_channel) {
    const filters f = {w, q, k, channels, shift};
    const output out = {y, y_pixel, y_channel};
    if (channels < DWFUSE_TILE) {
        one_by_one(x, x_pixel, pixels, &f, &out);
        return;
    }
    int p = 0;
    while (p < pixels) {
        int left = pixels - p;
        if (left == 3 && p > 0 && x_pixel == k) left = 4, p--; /* computing a pixel again beats 2 + 1 */
        const uint8_t *from = x + p * x_pixel;
        uint8_t *to = y + p * y_pixel;
        if (left >= 4 && x_pixel == k) {
            four_pixels(from, &f, to, &out);
            p += 4;
        } else if (left >= 2) {
            two_pixels(from, x_pixel, &f, to, &out);
            p += 2;
        } else {
            one_pixel(from, &f, to, &out);
            p += 1;
        }
    }
}
