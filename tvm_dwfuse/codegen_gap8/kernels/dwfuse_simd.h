/* Four bytes at a time: each operation as XpulpV2 has it (GAP8, PULP), and in portable C that computes the same.
 *
 * XpulpV2 is written as inline assembly, not as builtins: the builtins' names differ between compilers of the family.
 */
#ifndef DWFUSE_SIMD_H
#define DWFUSE_SIMD_H

#include <stdint.h>
#include <string.h>

#if !defined(DWFUSE_XPULP) && (defined(__GAP8__) || defined(__GAP9__) || defined(__pulp__))
#define DWFUSE_XPULP 1
#endif

#define DWFUSE_INLINE static inline __attribute__((always_inline, unused))

/* Four bytes, the lowest address in the lowest bits. */
typedef uint32_t dwfuse_word;

/* Four of a kind. Members and not an array: an array stays in memory unless the compiler unrolls every loop over it. */
typedef struct {
    dwfuse_word a, b, c, d;
} dwfuse_quad;

typedef struct {
    int32_t a, b, c, d;
} dwfuse_sums;

#ifdef DWFUSE_XPULP

typedef dwfuse_word __attribute__((may_alias)) dwfuse_memory_word;

/* A word at any address: the core splits a misaligned access itself, for one cycle more. */
DWFUSE_INLINE dwfuse_word dwfuse_load(const void *address) {
    return *(const dwfuse_memory_word *)address;
}

DWFUSE_INLINE void dwfuse_store(void *address, dwfuse_word word) {
    *(dwfuse_memory_word *)address = word;
}

/* Stores a word and returns the address `step` further on. */
DWFUSE_INLINE uint8_t *dwfuse_store_step(uint8_t *address, dwfuse_word word, int step) {
    __asm__ volatile("p.sw %1, %2(%0!)" : "+r"(address) : "r"(word), "r"(step) : "memory");
    return address;
}

/* Copies `pairs` > 0 times eight bytes. */
DWFUSE_INLINE void dwfuse_copy_pairs(uint8_t *to, const uint8_t *from, int pairs) {
    dwfuse_word a, b;
    __asm__ volatile(".balign 4\n\tlp.setup x0, %[pairs], 1f\n\t"
                     "p.lw %[a], 4(%[from]!)\n\tp.lw %[b], 4(%[from]!)\n\tp.sw %[a], 4(%[to]!)\n"
                     "1:\tp.sw %[b], 4(%[to]!)"
                     : [to] "+&r"(to), [from] "+&r"(from), [a] "=&r"(a), [b] "=&r"(b)
                     : [pairs] "r"(pairs)
                     : "memory");
}

/* `rows` times `quads` transposes of four words: word i of a quad is at from + i * pixel, and byte j of it goes to byte
 * i of the word at to + j * plane. The next quad is four pixels on, the next row from_row, to_row bytes from here. */
DWFUSE_INLINE void dwfuse_transpose_rows(const uint8_t *from, int pixel, int from_row, uint8_t *to, int plane,
                                         int to_row, int quads, int rows) {
    dwfuse_word a, b, c, d, e, f;
    __asm__ volatile(".balign 4\n\t.option push\n\t.option norvc\n\t"
                     "lp.setup x1, %[rows], 2f\n\t"
                     "lp.setup x0, %[quads], 1f\n\t"
                     "p.lw %[a], %[pixel](%[from]!)\n\tp.lw %[b], %[pixel](%[from]!)\n\t"
                     "p.lw %[c], %[pixel](%[from]!)\n\tp.lw %[d], %[pixel](%[from]!)\n\t"
                     "mv %[e], %[a]\n\tmv %[f], %[c]\n\t"
                     "pv.shuffle2.b %[a], %[b], %[low_pairs]\n\tpv.shuffle2.b %[c], %[d], %[low_pairs]\n\t"
                     "pv.shuffle2.b %[e], %[b], %[high_pairs]\n\tpv.shuffle2.b %[f], %[d], %[high_pairs]\n\t"
                     "pv.pack.h %[b], %[c], %[a]\n\tpv.shuffle2.b %[a], %[c], %[high_halves]\n\t"
                     "pv.pack.h %[d], %[f], %[e]\n\tpv.shuffle2.b %[e], %[f], %[high_halves]\n\t"
                     "p.sw %[b], %[plane](%[to]!)\n\tp.sw %[a], %[plane](%[to]!)\n\tp.sw %[d], %[plane](%[to]!)\n"
                     "1:\tp.sw %[e], %[next](%[to]!)\n\t"
                     "add %[from], %[from], %[from_step]\n"
                     "2:\tadd %[to], %[to], %[to_step]\n\t.option pop"
                     : [from] "+&r"(from), [to] "+&r"(to), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d),
                       [e] "=&r"(e), [f] "=&r"(f)
                     : [rows] "r"(rows), [quads] "r"(quads), [pixel] "r"(pixel), [plane] "r"(plane),
                       [next] "r"(4 - 3 * plane), [from_step] "r"(from_row - 4 * quads * pixel),
                       [to_step] "r"(to_row - 4 * quads), [low_pairs] "r"(0x05010400), [high_pairs] "r"(0x07030602),
                       [high_halves] "r"(0x07060302)
                     : "memory");
}

/* Stores four bytes at a distance and returns the address `step` after the last one. */
DWFUSE_INLINE uint8_t *dwfuse_store_bytes(uint8_t *to, int distance, int step, dwfuse_sums bytes) {
    __asm__ volatile("p.sb %1, %5(%0!)\n\tp.sb %2, %5(%0!)\n\tp.sb %3, %5(%0!)\n\tp.sb %4, %6(%0!)"
                     : "+&r"(to)
                     : "r"(bytes.a), "r"(bytes.b), "r"(bytes.c), "r"(bytes.d), "r"(distance), "r"(step)
                     : "memory");
    return to;
}

/* Sum of the products of four uint8 and four int8. */
DWFUSE_INLINE int32_t dwfuse_dot(dwfuse_word x, dwfuse_word w) {
    int32_t sum;
    __asm__("pv.dotusp.b %0, %1, %2" : "=r"(sum) : "r"(x), "r"(w));
    return sum;
}

DWFUSE_INLINE int32_t dwfuse_dot_add(dwfuse_word x, dwfuse_word w, int32_t sum) {
    __asm__("pv.sdotusp.b %0, %1, %2" : "+r"(sum) : "r"(x), "r"(w));
    return sum;
}

/* clip((product + offset) >> shift, 0, 255) */
DWFUSE_INLINE int32_t dwfuse_narrow(int32_t product, int32_t offset, int shift) {
    __asm__("p.addNr %0, %1, %2\n\tp.clipu %0, %0, 9" : "+r"(product) : "r"(offset), "r"(shift));
    return product;
}

/* Four of a channel; a product is ready after two cycles. */
DWFUSE_INLINE dwfuse_sums dwfuse_requantize_four(dwfuse_sums s, int32_t multiplier, int32_t offset, int shift) {
    __asm__("mul %0, %0, %4\n\tmul %1, %1, %4\n\tmul %2, %2, %4\n\tmul %3, %3, %4\n\t"
            "p.addNr %0, %5, %6\n\tp.addNr %1, %5, %6\n\tp.addNr %2, %5, %6\n\tp.addNr %3, %5, %6\n\t"
            "p.clipu %0, %0, 9\n\tp.clipu %1, %1, 9\n\tp.clipu %2, %2, 9\n\tp.clipu %3, %3, 9"
            : "+&r"(s.a), "+&r"(s.b), "+&r"(s.c), "+&r"(s.d)
            : "r"(multiplier), "r"(offset), "r"(shift));
    return s;
}

/* The word of four values that are bytes already. */
DWFUSE_INLINE dwfuse_word dwfuse_pack(int32_t b0, int32_t b1, int32_t b2, int32_t b3) {
    dwfuse_word word;
    __asm__("pv.packlo.b %0, %1, %2" : "=r"(word) : "r"(b1), "r"(b0));
    __asm__("pv.packhi.b %0, %1, %2" : "+r"(word) : "r"(b3), "r"(b2));
    return word;
}

/* Hides from the compiler what a loop counter is: the assembly of the kernels occupies a hardware loop of the core,
 * which a compiler that can count the loop around it would take. */
DWFUSE_INLINE int dwfuse_opaque(int value) {
    __asm__("" : "+r"(value));
    return value;
}

#else

DWFUSE_INLINE dwfuse_word dwfuse_load(const void *address) {
    dwfuse_word word;
    memcpy(&word, address, sizeof word);
    return word;
}

DWFUSE_INLINE void dwfuse_store(void *address, dwfuse_word word) {
    memcpy(address, &word, sizeof word);
}

DWFUSE_INLINE uint8_t *dwfuse_store_step(uint8_t *address, dwfuse_word word, int step) {
    dwfuse_store(address, word);
    return address + step;
}

DWFUSE_INLINE void dwfuse_copy_pairs(uint8_t *to, const uint8_t *from, int pairs) {
    memcpy(to, from, 8 * (size_t)pairs);
}

DWFUSE_INLINE void dwfuse_transpose_rows(const uint8_t *from, int pixel, int from_row, uint8_t *to, int plane,
                                         int to_row, int quads, int rows) {
    for (int row = 0; row < rows; row++, from += from_row, to += to_row)
        for (int i = 0; i < 4 * quads; i++)
            for (int j = 0; j < 4; j++) to[j * plane + i] = from[i * pixel + j];
}

DWFUSE_INLINE uint8_t *dwfuse_store_bytes(uint8_t *to, int distance, int step, dwfuse_sums bytes) {
    to[0] = (uint8_t)bytes.a;
    to[distance] = (uint8_t)bytes.b;
    to[2 * distance] = (uint8_t)bytes.c;
    to[3 * distance] = (uint8_t)bytes.d;
    return to + 3 * distance + step;
}

DWFUSE_INLINE int32_t dwfuse_dot(dwfuse_word x, dwfuse_word w) {
    return (int32_t)(uint8_t)x * (int8_t)w + (int32_t)(uint8_t)(x >> 8) * (int8_t)(w >> 8) +
           (int32_t)(uint8_t)(x >> 16) * (int8_t)(w >> 16) + (int32_t)(uint8_t)(x >> 24) * (int8_t)(w >> 24);
}

DWFUSE_INLINE int32_t dwfuse_dot_add(dwfuse_word x, dwfuse_word w, int32_t sum) {
    return sum + dwfuse_dot(x, w);
}

DWFUSE_INLINE int32_t dwfuse_narrow(int32_t product, int32_t offset, int shift) {
    int32_t value = (int32_t)((uint32_t)product + (uint32_t)offset) >> shift;
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

DWFUSE_INLINE dwfuse_sums dwfuse_requantize_four(dwfuse_sums s, int32_t multiplier, int32_t offset, int shift) {
    const uint32_t m = (uint32_t)multiplier;
    return (dwfuse_sums){dwfuse_narrow((int32_t)((uint32_t)s.a * m), offset, shift),
                         dwfuse_narrow((int32_t)((uint32_t)s.b * m), offset, shift),
                         dwfuse_narrow((int32_t)((uint32_t)s.c * m), offset, shift),
                         dwfuse_narrow((int32_t)((uint32_t)s.d * m), offset, shift)};
}

DWFUSE_INLINE dwfuse_word dwfuse_pack(int32_t b0, int32_t b1, int32_t b2, int32_t b3) {
    return (dwfuse_word)b0 | (dwfuse_word)b1 << 8 | (dwfuse_word)b2 << 16 | (dwfuse_word)b3 << 24;
}

DWFUSE_INLINE int dwfuse_opaque(int value) {
    return value;
}

#endif

/* The four bytes of a word are the same. */
DWFUSE_INLINE dwfuse_word dwfuse_splat(int byte) {
    return (dwfuse_word)byte * 0x01010101u;
}

/* clip((multiplier * sum + offset) >> shift, 0, 255). The product wraps at 32 bits: the import chooses multipliers for
 * which it cannot. */
DWFUSE_INLINE int32_t dwfuse_requantize(int32_t sum, int32_t multiplier, int32_t offset, int shift) {
    return dwfuse_narrow((int32_t)((uint32_t)sum * (uint32_t)multiplier), offset, shift);
}

#endif
