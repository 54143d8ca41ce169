/* Sums of products of a register tile: 4 channels x 4, 2 or 1 pixels.
 *
 * Four channels by four pixels need 8 loads for 16 dot products; 16 sums, 6 operands and 4 registers for addresses are
 * all that 32 registers hold. In XpulpV2 the whole reduction is one block of assembly: a compiler that reorders these
 * loads spills sums, and one that does not know the hardware loop pays a branch for each word of k.
 */
#ifndef DWFUSE_TILE_H
#define DWFUSE_TILE_H

#include "dwfuse_simd.h"

#define DWFUSE_TILE 4

/* A member for each channel, with one for each pixel. */
typedef struct {
    dwfuse_sums channel_0, channel_1, channel_2, channel_3;
} dwfuse_tile;

#ifdef DWFUSE_XPULP

/* Rows of weights lie k apart: three steps of k, then back to the first row, one word on. The same for pixels. */
#define DWFUSE_LOAD_WEIGHTS              \
    "p.lw %[w0], %[k](%[w]!)\n\t"        \
    "p.lw %[w1], %[k](%[w]!)\n\t"        \
    "p.lw %[w2], %[k](%[w]!)\n\t"        \
    "p.lw %[w3], %[w_back](%[w]!)\n\t"

#define DWFUSE_DOT_PIXEL(DOT, PIXEL, X)               \
    DOT " %[s" PIXEL "0], %[" X "], %[w0]\n\t"        \
    DOT " %[s" PIXEL "1], %[" X "], %[w1]\n\t"        \
    DOT " %[s" PIXEL "2], %[" X "], %[w2]\n\t"

#define DWFUSE_DOT_LAST(DOT, PIXEL, X) DOT " %[s" PIXEL "3], %[" X "], %[w3]\n\t"

/* A step for each word of k; the first one does not accumulate. The label marks the last instruction of the loop. */
#define DWFUSE_REDUCE(STEP, LAST, LAST_PIXEL, LAST_X)                    \
    STEP("pv.dotusp.b")                                                  \
    LAST("pv.dotusp.b", LAST_PIXEL, LAST_X)                              \
    "beqz %[words], 2f\n\t"                                              \
    ".balign 4\n\t"                                                      \
    "lp.setup x0, %[words], 1f\n\t"                                      \
    STEP("pv.sdotusp.b")                                                 \
    "1:\t" LAST("pv.sdotusp.b", LAST_PIXEL, LAST_X)                      \
    "2:\n\t"

#define DWFUSE_STEP_4(DOT)                 \
    DWFUSE_LOAD_WEIGHTS                    \
    "p.lw %[x0], %[k](%[x]!)\n\t"          \
    "p.lw %[x1], %[k](%[x]!)\n\t"          \
    DWFUSE_DOT_PIXEL(DOT, "0", "x0")       \
    DWFUSE_DOT_LAST(DOT, "0", "x0")        \
    "p.lw %[x0], %[k](%[x]!)\n\t"          \
    DWFUSE_DOT_PIXEL(DOT, "1", "x1")       \
    DWFUSE_DOT_LAST(DOT, "1", "x1")        \
    "p.lw %[x1], %[w_back](%[x]!)\n\t"     \
    DWFUSE_DOT_PIXEL(DOT, "2", "x0")       \
    DWFUSE_DOT_LAST(DOT, "2", "x0")        \
    DWFUSE_DOT_PIXEL(DOT, "3", "x1")

#define DWFUSE_STEP_2(DOT)                 \
    DWFUSE_LOAD_WEIGHTS                    \
    "p.lw %[x0], %[x_pixel](%[x]!)\n\t"    \
    "p.lw %[x1], %[x_back](%[x]!)\n\t"     \
    DWFUSE_DOT_PIXEL(DOT, "0", "x0")       \
    DWFUSE_DOT_LAST(DOT, "0", "x0")        \
    DWFUSE_DOT_PIXEL(DOT, "1", "x1")

#define DWFUSE_STEP_1(DOT)                 \
    "p.lw %[x0], 4(%[x]!)\n\t"             \
    DWFUSE_LOAD_WEIGHTS                    \
    DWFUSE_DOT_PIXEL(DOT, "0", "x0")

#define DWFUSE_SUMS_OF(PIXEL, MEMBER)                                                                        \
    [s##PIXEL##0] "=&r"(sums->channel_0.MEMBER), [s##PIXEL##1] "=&r"(sums->channel_1.MEMBER),                \
    [s##PIXEL##2] "=&r"(sums->channel_2.MEMBER), [s##PIXEL##3] "=&r"(sums->channel_3.MEMBER)

#define DWFUSE_WEIGHTS [w] "+&r"(w), [w0] "=&r"(w0), [w1] "=&r"(w1), [w2] "=&r"(w2), [w3] "=&r"(w3)

/* Four pixels that lie k apart, as 16 sums leave no register for another distance. */
DWFUSE_INLINE void dwfuse_tile_4(dwfuse_tile *sums, const uint8_t *x, const int8_t *w, int k) {
    dwfuse_word w0, w1, w2, w3, x0, x1;
    __asm__ volatile(DWFUSE_REDUCE(DWFUSE_STEP_4, DWFUSE_DOT_LAST, "3", "x1")
                     : DWFUSE_SUMS_OF(0, a), DWFUSE_SUMS_OF(1, b), DWFUSE_SUMS_OF(2, c), DWFUSE_SUMS_OF(3, d),
                       DWFUSE_WEIGHTS, [x] "+&r"(x), [x0] "=&r"(x0), [x1] "=&r"(x1)
                     : [words] "r"(((unsigned)k >> 2) - 1), [k] "r"(k), [w_back] "r"(4 - 3 * k)
                     : "memory");
}

DWFUSE_INLINE void dwfuse_tile_2(dwfuse_tile *sums, const uint8_t *x, int x_pixel, const int8_t *w, int k) {
    dwfuse_word w0, w1, w2, w3, x0, x1;
    __asm__ volatile(DWFUSE_REDUCE(DWFUSE_STEP_2, DWFUSE_DOT_LAST, "1", "x1")
                     : DWFUSE_SUMS_OF(0, a), DWFUSE_SUMS_OF(1, b), DWFUSE_WEIGHTS, [x] "+&r"(x), [x0] "=&r"(x0),
                       [x1] "=&r"(x1)
                     : [words] "r"(((unsigned)k >> 2) - 1), [k] "r"(k), [w_back] "r"(4 - 3 * k), [x_pixel] "r"(x_pixel),
                       [x_back] "r"(4 - x_pixel)
                     : "memory");
}

DWFUSE_INLINE void dwfuse_tile_1(dwfuse_tile *sums, const uint8_t *x, const int8_t *w, int k) {
    dwfuse_word w0, w1, w2, w3, x0;
    __asm__ volatile(DWFUSE_REDUCE(DWFUSE_STEP_1, DWFUSE_DOT_LAST, "0", "x0")
                     : DWFUSE_SUMS_OF(0, a), DWFUSE_WEIGHTS, [x] "+&r"(x), [x0] "=&r"(x0)
                     : [words] "r"(((unsigned)k >> 2) - 1), [k] "r"(k), [w_back] "r"(4 - 3 * k)
                     : "memory");
}

#else

DWFUSE_INLINE dwfuse_sums dwfuse_dot_pixels(int pixels, const uint8_t *x, int x_pixel, const int8_t *w, int k) {
    dwfuse_sums sums = {0, 0, 0, 0};
    for (int j = 0; j < k; j += 4, x += 4) {
        const dwfuse_word weights = dwfuse_load(w + j);
        sums.a = dwfuse_dot_add(dwfuse_load(x), weights, sums.a);
        if (pixels < 2) continue;
        sums.b = dwfuse_dot_add(dwfuse_load(x + x_pixel), weights, sums.b);
        if (pixels < 4) continue;
        sums.c = dwfuse_dot_add(dwfuse_load(x + 2 * x_pixel), weights, sums.c);
        sums.d = dwfuse_dot_add(dwfuse_load(x + 3 * x_pixel), weights, sums.d);
    }
    return sums;
}

DWFUSE_INLINE void dwfuse_tile_of(int pixels, dwfuse_tile *sums, const uint8_t *x, int x_pixel, const int8_t *w,
                                  int k) {
    sums->channel_0 = dwfuse_dot_pixels(pixels, x, x_pixel, w, k);
    sums->channel_1 = dwfuse_dot_pixels(pixels, x, x_pixel, w + k, k);
    sums->channel_2 = dwfuse_dot_pixels(pixels, x, x_pixel, w + 2 * k, k);
    sums->channel_3 = dwfuse_dot_pixels(pixels, x, x_pixel, w + 3 * k, k);
}

DWFUSE_INLINE void dwfuse_tile_4(dwfuse_tile *sums, const uint8_t *x, const int8_t *w, int k) {
    dwfuse_tile_of(4, sums, x, k, w, k);
}

DWFUSE_INLINE void dwfuse_tile_2(dwfuse_tile *sums, const uint8_t *x, int x_pixel, const int8_t *w, int k) {
    dwfuse_tile_of(2, sums, x, x_pixel, w, k);
}

DWFUSE_INLINE void dwfuse_tile_1(dwfuse_tile *sums, const uint8_t *x, const int8_t *w, int k) {
    dwfuse_tile_of(1, sums, x, 0, w, k);
}

#endif

#endif
