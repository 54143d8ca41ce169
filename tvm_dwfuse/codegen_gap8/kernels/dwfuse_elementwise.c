/* Global average pooling and addition. */
#include "dwfuse_kernels.h"
#include "dwfuse_simd.h"

/* Sums of four neighbouring channels. */
DWFUSE_INLINE void sum_channels(const uint8_t *x, int x_pixel, int pixels, int32_t sums[4]) {
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int p = 0; p < pixels; p++, x += x_pixel) {
        dwfuse_word word = dwfuse_load(x);
        s0 = dwfuse_dot_add(word, 0x00000001, s0);
        s1 = dwfuse_dot_add(word, 0x00000100, s1);
        s2 = dwfuse_dot_add(word, 0x00010000, s2);
        s3 = dwfuse_dot_add(word, 0x01000000, s3);
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

DWFUSE_INLINE int32_t sum_channel(const uint8_t *x, int x_pixel, int pixels) {
    int32_t sum = 0;
    int p = 0;
    if (x_pixel == 1)
        for (; p < pixels - 3; p += 4) sum = dwfuse_dot_add(dwfuse_load(x + p), 0x01010101, sum);
    for (; p < pixels; p++) sum += x[p * x_pixel];
    return sum;
}

void dwfuse_average_pool(const uint8_t *x, int x_pixel, int x_channel, int pixels, int channels, int multiplier,
                         int offset, int shift, uint8_t *y) {
    int c = 0;
    if (x_channel == 1)
        for (; c < channels - 3; c += 4) {
            int32_t sums[4];
            sum_channels(x + c, x_pixel, pixels, sums);
            for (int i = 0; i < 4; i++) y[c + i] = (uint8_t)dwfuse_requantize(sums[i], multiplier, offset, shift);
        }
    for (; c < channels; c++)
        y[c] = (uint8_t)dwfuse_requantize(sum_channel(x + c * x_channel, x_pixel, pixels), multiplier, offset, shift);
}

DWFUSE_INLINE int32_t add(int32_t a, int32_t b, int32_t multiplier_a, int32_t multiplier_b, int32_t offset, int shift) {
    const uint32_t sum = (uint32_t)a * (uint32_t)multiplier_a + (uint32_t)b * (uint32_t)multiplier_b;
    return dwfuse_narrow((int32_t)sum, offset, shift);
}

#ifdef DWFUSE_XPULP

/* Loads and products are ready after two cycles, so each step is done for all four. */
DWFUSE_INLINE dwfuse_sums add_four(const uint8_t *a, const uint8_t *b, int32_t multiplier_a, int32_t multiplier_b,
                                   int32_t offset, int shift) {
    dwfuse_sums s;
    int32_t b0, b1, b2, b3;
    __asm__ volatile("p.lbu %0, 1(%8!)\n\tp.lbu %1, 1(%8!)\n\tp.lbu %2, 1(%8!)\n\tp.lbu %3, 1(%8!)\n\t"
                     "p.lbu %4, 1(%9!)\n\tp.lbu %5, 1(%9!)\n\tp.lbu %6, 1(%9!)\n\tp.lbu %7, 1(%9!)\n\t"
                     "mul %0, %0, %10\n\tmul %1, %1, %10\n\tmul %2, %2, %10\n\tmul %3, %3, %10\n\t"
                     "p.mac %0, %4, %11\n\tp.mac %1, %5, %11\n\tp.mac %2, %6, %11\n\tp.mac %3, %7, %11\n\t"
                     "p.addNr %0, %12, %13\n\tp.addNr %1, %12, %13\n\tp.addNr %2, %12, %13\n\tp.addNr %3, %12, %13\n\t"
                     "p.clipu %0, %0, 9\n\tp.clipu %1, %1, 9\n\tp.clipu %2, %2, 9\n\tp.clipu %3, %3, 9"
                     : "=&r"(s.a), "=&r"(s.b), "=&r"(s.c), "=&r"(s.d), "=&r"(b0), "=&r"(b1), "=&r"(b2), "=&r"(b3),
                       "+&r"(a), "+&r"(b)
                     : "r"(multiplier_a), "r"(multiplier_b), "r"(offset), "r"(shift)
                     : "memory");
    return s;
}

#else

DWFUSE_INLINE dwfuse_sums add_four(const uint8_t *a, const uint8_t *b, int32_t multiplier_a, int32_t multiplier_b,
                                   int32_t offset, int shift) {
    return (dwfuse_sums){add(a[0], b[0], multiplier_a, multiplier_b, offset, shift),
                         add(a[1], b[1], multiplier_a, multiplier_b, offset, shift),
                         add(a[2], b[2], multiplier_a, multiplier_b, offset, shift),
                         add(a[3], b[3], multiplier_a, multiplier_b, offset, shift)};
}

#endif

void dwfuse_add(const uint8_t *a, const uint8_t *b, int count, int multiplier_a, int multiplier_b, int offset,
                int shift, uint8_t *y) {
    int i = 0;
    for (; i < count - 3; i += 4) {
        const dwfuse_sums sums = add_four(a + i, b + i, multiplier_a, multiplier_b, offset, shift);
        dwfuse_store(y + i, dwfuse_pack(sums.a, sums.b, sums.c, sums.d));
    }
    for (; i < count; i++) y[i] = (uint8_t)add(a[i], b[i], multiplier_a, multiplier_b, offset, shift);
}
