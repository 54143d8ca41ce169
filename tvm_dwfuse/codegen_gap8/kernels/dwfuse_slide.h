/* A 3x3 window that slides down four columns of planes, strides 1 and 2: a strip of outputs of all channels.
 *
 * Four outputs of a row are served by words of four pixels, each with the taps {w0, w1, w2, 0} for one output and
 * {0, w0, w1, w2} for the next one. The words of earlier rows stay in registers: a row is loaded once. In XpulpV2 a
 * strip is one block of assembly, for what dwfuse_tile.h says.
 */
#ifndef DWFUSE_SLIDE_H
#define DWFUSE_SLIDE_H

#include <stddef.h>

#include "dwfuse_simd.h"

enum { DWFUSE_LEFT_EDGE = 1, DWFUSE_RIGHT_EDGE = 2 };

/* What strips have in common. The assembly reads the first seven members. */
typedef struct {
    int top;            /* whether the first output row reads padding above */
    int rows;           /* output rows that do not read padding below */
    int pairs;          /* rows / 2 */
    int bottom;         /* whether one more reads it */
    int x_next, y_next; /* distances from where a channel ends to where the next one begins */
    const int8_t *w_end;
    int row;             /* distance of input rows */
    int pixel, next_row; /* distances of output pixels, and from a strip's last in a row to its first in the next */
    int shift;
    dwfuse_word pad; /* four bytes of padding */
} dwfuse_strip;

/* The word that each of four outputs reads of a row; those of b and d start one pixel early. */
typedef dwfuse_quad dwfuse_pixels;

typedef struct {
    dwfuse_word first, second, third; /* rows of the kernel */
} dwfuse_taps;

DWFUSE_INLINE dwfuse_pixels dwfuse_padding_row(dwfuse_word pad) {
    return (dwfuse_pixels){pad, pad, pad, pad};
}

/* `x` is at the second column that the strip reads: at the left edge there is no first. */
DWFUSE_INLINE dwfuse_pixels dwfuse_load_row(int stride, int edges, const uint8_t *x, dwfuse_word pad) {
    const uint8_t *last = x + (stride == 1 ? 1 : 4);
    const dwfuse_word a = edges & DWFUSE_LEFT_EDGE ? dwfuse_load(x) << 8 | pad >> 24 : dwfuse_load(x - 1);
    const dwfuse_word d = edges & DWFUSE_RIGHT_EDGE ? dwfuse_load(last - 1) >> 8 | pad << 24 : dwfuse_load(last);
    if (stride == 1) return (dwfuse_pixels){a, a, d, d};
    return (dwfuse_pixels){a, dwfuse_load(x), dwfuse_load(x + 3), d};
}

DWFUSE_INLINE int32_t dwfuse_dot_rows(dwfuse_word first, dwfuse_word second, dwfuse_word third, dwfuse_taps w) {
    return dwfuse_dot_add(third, w.third, dwfuse_dot_add(second, w.second, dwfuse_dot(first, w.first)));
}

/* Four outputs of one row; returns where the next row's are. */
DWFUSE_INLINE uint8_t *dwfuse_store_row(dwfuse_pixels first, dwfuse_pixels second, dwfuse_pixels third, const int8_t *w,
                                        const int32_t *q, const dwfuse_strip *s, uint8_t *y) {
    const dwfuse_taps even = {dwfuse_load(w), dwfuse_load(w + 4), dwfuse_load(w + 8)};
    const dwfuse_taps odd = {even.first << 8, even.second << 8, even.third << 8};
    const dwfuse_sums sums = {
        dwfuse_dot_rows(first.a, second.a, third.a, even),
        dwfuse_dot_rows(first.b, second.b, third.b, odd),
        dwfuse_dot_rows(first.c, second.c, third.c, even),
        dwfuse_dot_rows(first.d, second.d, third.d, odd),
    };
    return dwfuse_store_bytes(y, s->pixel, s->next_row, dwfuse_requantize_four(sums, q[0], q[1], s->shift));
}

#ifdef DWFUSE_XPULP

/* Members of dwfuse_strip. */
_Static_assert(offsetof(dwfuse_strip, w_end) == 24, "the assembly knows where the members are");
#define DWFUSE_TOP "0(%[strip])"
#define DWFUSE_ROWS "4(%[strip])"
#define DWFUSE_PAIRS "8(%[strip])"
#define DWFUSE_BOTTOM "12(%[strip])"
#define DWFUSE_X_NEXT "16(%[strip])"
#define DWFUSE_Y_NEXT "20(%[strip])"
#define DWFUSE_W_END "24(%[strip])"

#define DWFUSE_DOTS(DOT, A, B, C, D, TAPS, BEFORE_C, BEFORE_D)        \
    DOT " t3, %[" A "], %[even_" TAPS "]\n\t"                         \
    DOT " t4, %[" B "], %[odd_" TAPS "]\n\t"                          \
    BEFORE_C DOT " t5, %[" C "], %[even_" TAPS "]\n\t"                \
    BEFORE_D DOT " t6, %[" D "], %[odd_" TAPS "]\n\t"

/* All of store_row's end but the last byte, which may carry the label of a loop's end. */
#define DWFUSE_FINISH                                                                                        \
    "mul t3, t3, %[multiplier]\n\tmul t4, t4, %[multiplier]\n\t"                                             \
    "mul t5, t5, %[multiplier]\n\tmul t6, t6, %[multiplier]\n\t"                                             \
    "p.addNr t3, %[offset], %[shift]\n\tp.addNr t4, %[offset], %[shift]\n\t"                                 \
    "p.addNr t5, %[offset], %[shift]\n\tp.addNr t6, %[offset], %[shift]\n\t"                                 \
    "p.clipu t3, t3, 9\n\tp.clipu t4, t4, 9\n\tp.clipu t5, t5, 9\n\tp.clipu t6, t6, 9\n\t"                   \
    "p.sb t3, %[pixel](%[y]!)\n\tp.sb t4, %[pixel](%[y]!)\n\tp.sb t5, %[pixel](%[y]!)\n\t"

#define DWFUSE_LAST_BYTE "p.sb t6, %[next_row](%[y]!)\n\t"

/* A row's words lie at constant distances from its last one, whose load steps to the next row. At an edge, a byte of
 * padding moves in at the left or right of a word: a shuffle, or where two selectors would take too many registers two
 * instructions. */
#define DWFUSE_LOAD(WORD, OFFSET) "lw %[" WORD "], " OFFSET "(%[x])\n\t"
#define DWFUSE_LOAD_STEP(WORD) "p.lw %[" WORD "], %[row](%[x]!)\n\t"
#define DWFUSE_PAD(WORD) "pv.shuffle2.b %[" WORD "], %[pad], %[pad_selectors]\n\t"
#define DWFUSE_PAD_LEFT(WORD) "slli %[" WORD "], %[" WORD "], 8\n\tp.insert %[" WORD "], %[pad], 7, 0\n\t"
#define DWFUSE_PAD_RIGHT(WORD) "srli %[" WORD "], %[" WORD "], 8\n\tp.insert %[" WORD "], %[pad], 7, 24\n\t"
#define DWFUSE_NO_PAD(WORD)

/* The loop over channels: BEGIN, which leaves `top` in t3, then the rows, then END, which has `x_next` in t3. */
#define DWFUSE_BEGIN_CHANNEL                                                                                 \
    "1:\tp.lw %[even_first], 4(%[w]!)\n\tp.lw %[even_second], 4(%[w]!)\n\tp.lw %[even_third], 4(%[w]!)\n\t"  \
    "p.lw %[multiplier], 4(%[q]!)\n\tp.lw %[offset], 4(%[q]!)\n\tlw t3, " DWFUSE_TOP "\n\t"                  \
    "slli %[odd_first], %[even_first], 8\n\tslli %[odd_second], %[even_second], 8\n\t"                       \
    "slli %[odd_third], %[even_third], 8\n\t"

#define DWFUSE_END_CHANNEL                                                                                   \
    "lw t4, " DWFUSE_Y_NEXT "\n\tlw t5, " DWFUSE_W_END "\n\t"                                                \
    "add %[x], %[x], t3\n\tadd %[y], %[y], t4\n\tbne %[w], t5, 1b\n\t"

/* A loop in hardware around the rows that BODY gives but for the last byte; its instructions must have 4 bytes each. */
#define DWFUSE_LOOP(COUNT, BODY)                                                \
    ".balign 4\n\t.option push\n\t.option norvc\n\t"                            \
    "lp.setup x0, " COUNT ", 4f\n\t" BODY "4:\t" DWFUSE_LAST_BYTE ".option pop\n\t"

/* Stride 1. Once its four dot products are done, the row that FIRST held gives its registers to another: to the second
 * row, which leaves its own to the new row, or to the new row itself, NEW being FIRST then. */
#define DWFUSE_ROW_1(A, LEFT, RIGHT, FIRST, SECOND, MOVE, NEW)                                       \
    DWFUSE_DOTS("pv.dotusp.b", FIRST "a", FIRST "a", FIRST "d", FIRST "d", "first", "", "")          \
    DWFUSE_DOTS("pv.sdotusp.b", SECOND "a", SECOND "a", SECOND "d", SECOND "d", "second", "", "")    \
    MOVE DWFUSE_LOAD(NEW "a", A) DWFUSE_LOAD_STEP(NEW "d") LEFT(NEW "a")                             \
    DWFUSE_DOTS("pv.sdotusp.b", NEW "a", NEW "a", NEW "d", NEW "d", "third", RIGHT(NEW "d"), "")     \
    DWFUSE_FINISH

/* Two rows a turn, after which the window is in the same registers again; before it, a row if their number is odd. */
#define DWFUSE_STRIP_1(A, LEFT, RIGHT)                                                               \
    DWFUSE_BEGIN_CHANNEL                                                                             \
    "mv %[fa], %[pad]\n\tmv %[fd], %[pad]\n\tbnez t3, 2f\n\t"                                        \
    DWFUSE_LOAD("fa", A) DWFUSE_LOAD_STEP("fd") LEFT("fa") RIGHT("fd")                               \
    "2:\t" DWFUSE_LOAD("sa", A) DWFUSE_LOAD_STEP("sd") "lw t3, " DWFUSE_ROWS "\n\t" LEFT("sa")       \
    RIGHT("sd") "andi t3, t3, 1\n\tbeqz t3, 3f\n\t"                                                  \
    DWFUSE_ROW_1(A, LEFT, RIGHT, "f", "s", "mv %[fa], %[sa]\n\tmv %[fd], %[sd]\n\t", "s")            \
    DWFUSE_LAST_BYTE                                                                                 \
    "3:\tlw t3, " DWFUSE_PAIRS "\n\tlw t4, " DWFUSE_BOTTOM "\n\tbeqz t3, 5f\n\t"                     \
    DWFUSE_LOOP("t3", DWFUSE_ROW_1(A, LEFT, RIGHT, "f", "s", "", "f") DWFUSE_LAST_BYTE               \
                      DWFUSE_ROW_1(A, LEFT, RIGHT, "s", "f", "", "s"))                               \
    "lw t4, " DWFUSE_BOTTOM "\n"                                                                     \
    "5:\tlw t3, " DWFUSE_X_NEXT "\n\tbeqz t4, 6f\n\t"                                           \
    DWFUSE_DOTS("pv.dotusp.b", "fa", "fa", "fd", "fd", "first", "", "")                              \
    DWFUSE_DOTS("pv.sdotusp.b", "sa", "sa", "sd", "sd", "second", "", "")                            \
    DWFUSE_DOTS("pv.sdotusp.b", "pad", "pad", "pad", "pad", "third", "", "")                         \
    DWFUSE_FINISH DWFUSE_LAST_BYTE                                                                   \
    "lw t3, " DWFUSE_X_NEXT "\n"                                                                    \
    "6:\t" DWFUSE_END_CHANNEL

/* Stride 2: the last row of a window is the first one of the next. */
#define DWFUSE_LOAD_2(A, B, C, LEFT) \
    DWFUSE_LOAD("fa", A) DWFUSE_LOAD("fb", B) DWFUSE_LOAD("fc", C) DWFUSE_LOAD_STEP("fd") LEFT("fa")

#define DWFUSE_STRIP_2(A, B, C, LEFT, RIGHT)                                                         \
    DWFUSE_BEGIN_CHANNEL                                                                             \
    "mv %[fa], %[pad]\n\tmv %[fb], %[pad]\n\tmv %[fc], %[pad]\n\tmv %[fd], %[pad]\n\tbnez t3, 2f\n\t" \
    DWFUSE_LOAD_2(A, B, C, LEFT) RIGHT("fd")                                                         \
    "2:\tlw t3, " DWFUSE_ROWS "\n\tlw t4, " DWFUSE_BOTTOM "\n\tbeqz t3, 5f\n\t"                      \
    DWFUSE_LOOP("t3", DWFUSE_DOTS("pv.dotusp.b", "fa", "fb", "fc", "fd", "first", "", "")            \
                      DWFUSE_LOAD_2(A, B, C, LEFT)                                                   \
                      DWFUSE_DOTS("pv.sdotusp.b", "fa", "fb", "fc", "fd", "second", "", RIGHT("fd")) \
                      DWFUSE_LOAD_2(A, B, C, LEFT)                                                   \
                      DWFUSE_DOTS("pv.sdotusp.b", "fa", "fb", "fc", "fd", "third", "", RIGHT("fd"))  \
                      DWFUSE_FINISH)                                                                 \
    "lw t4, " DWFUSE_BOTTOM "\n"                                                                     \
    "5:\tlw t3, " DWFUSE_X_NEXT "\n\tbeqz t4, 6f\n\t"                                           \
    DWFUSE_DOTS("pv.dotusp.b", "fa", "fb", "fc", "fd", "first", "", "")                              \
    DWFUSE_LOAD_2(A, B, C, LEFT)                                                                     \
    DWFUSE_DOTS("pv.sdotusp.b", "fa", "fb", "fc", "fd", "second", "", RIGHT("fd"))                   \
    DWFUSE_DOTS("pv.sdotusp.b", "pad", "pad", "pad", "pad", "third", "", "")                         \
    DWFUSE_FINISH DWFUSE_LAST_BYTE                                                                   \
    "lw t3, " DWFUSE_X_NEXT "\n"                                                                    \
    "6:\t" DWFUSE_END_CHANNEL

#define DWFUSE_ASM(TEXT, PAD_SELECTORS, ...)                                                                \
    __asm__ volatile(TEXT                                                                                    \
                     : [w] "+&r"(w), [q] "+&r"(q), [x] "+&r"(x), [y] "+&r"(y), [even_first] "=&r"(even.first), \
                       [even_second] "=&r"(even.second), [even_third] "=&r"(even.third),                     \
                       [odd_first] "=&r"(odd.first), [odd_second] "=&r"(odd.second),                         \
                       [odd_third] "=&r"(odd.third), [multiplier] "=&r"(multiplier), [offset] "=&r"(offset), \
                       __VA_ARGS__                                                                           \
                     : [strip] "r"(s), [row] "r"(s->row), [pixel] "r"(s->pixel), [next_row] "r"(s->next_row), \
                       [shift] "r"(s->shift), [pad] "r"(s->pad) PAD_SELECTORS                                \
                     : "memory", "t3", "t4", "t5", "t6")

#define DWFUSE_NO_SELECT
#define DWFUSE_SELECT_LEFT , [pad_selectors] "r"(0x02010004)
#define DWFUSE_SELECT_RIGHT , [pad_selectors] "r"(0x04030201)
#define DWFUSE_WORDS_1 [fa] "=&r"(fa), [fd] "=&r"(fd), [sa] "=&r"(sa), [sd] "=&r"(sd)
#define DWFUSE_WORDS_2 [fa] "=&r"(fa), [fb] "=&r"(fb), [fc] "=&r"(fc), [fd] "=&r"(fd)

DWFUSE_INLINE void dwfuse_strip_1(int edges, const dwfuse_strip *s, const int8_t *w, const int32_t *q, const uint8_t *x,
                                  uint8_t *y) {
    dwfuse_taps even, odd;
    dwfuse_word fa, fd, sa, sd;
    int32_t multiplier, offset;
    x += edges & DWFUSE_RIGHT_EDGE ? 0 : 1; /* the last word */
    if (edges == 0)
        DWFUSE_ASM(DWFUSE_STRIP_1("-2", DWFUSE_NO_PAD, DWFUSE_NO_PAD), DWFUSE_NO_SELECT, DWFUSE_WORDS_1);
    else if (edges == DWFUSE_LEFT_EDGE)
        DWFUSE_ASM(DWFUSE_STRIP_1("-1", DWFUSE_PAD, DWFUSE_NO_PAD), DWFUSE_SELECT_LEFT, DWFUSE_WORDS_1);
    else if (edges == DWFUSE_RIGHT_EDGE)
        DWFUSE_ASM(DWFUSE_STRIP_1("-1", DWFUSE_NO_PAD, DWFUSE_PAD), DWFUSE_SELECT_RIGHT, DWFUSE_WORDS_1);
    else
        DWFUSE_ASM(DWFUSE_STRIP_1("0", DWFUSE_PAD_LEFT, DWFUSE_PAD_RIGHT), DWFUSE_NO_SELECT, DWFUSE_WORDS_1);
}

DWFUSE_INLINE void dwfuse_strip_2(int edges, const dwfuse_strip *s, const int8_t *w, const int32_t *q, const uint8_t *x,
                                  uint8_t *y) {
    dwfuse_taps even, odd;
    dwfuse_word fa, fb, fc, fd;
    int32_t multiplier, offset;
    x += edges & DWFUSE_RIGHT_EDGE ? 3 : 4; /* the last word */
    if (edges == 0)
        DWFUSE_ASM(DWFUSE_STRIP_2("-5", "-4", "-1", DWFUSE_NO_PAD, DWFUSE_NO_PAD), DWFUSE_NO_SELECT, DWFUSE_WORDS_2);
    else if (edges == DWFUSE_LEFT_EDGE)
        DWFUSE_ASM(DWFUSE_STRIP_2("-4", "-4", "-1", DWFUSE_PAD, DWFUSE_NO_PAD), DWFUSE_SELECT_LEFT, DWFUSE_WORDS_2);
    else if (edges == DWFUSE_RIGHT_EDGE)
        DWFUSE_ASM(DWFUSE_STRIP_2("-4", "-3", "0", DWFUSE_NO_PAD, DWFUSE_PAD), DWFUSE_SELECT_RIGHT, DWFUSE_WORDS_2);
    else
        DWFUSE_ASM(DWFUSE_STRIP_2("-3", "-3", "0", DWFUSE_PAD_LEFT, DWFUSE_PAD_RIGHT), DWFUSE_NO_SELECT,
                   DWFUSE_WORDS_2);
}

#else

DWFUSE_INLINE void dwfuse_strip_of(int stride, int edges, const dwfuse_strip *s, const int8_t *w, const int32_t *q,
                                   const uint8_t *x, uint8_t *y) {
    const dwfuse_pixels padding = dwfuse_padding_row(s->pad);
    for (; w != s->w_end; w += 12, q += 2, x += s->x_next, y += s->y_next) {
        dwfuse_pixels first = padding, second = padding, third;
        if (!s->top) first = dwfuse_load_row(stride, edges, x, s->pad), x += s->row;
        if (stride == 1) second = dwfuse_load_row(stride, edges, x, s->pad), x += s->row;
        for (int row = 0; row < s->rows + s->bottom; row++) {
            if (stride == 2) second = dwfuse_load_row(stride, edges, x, s->pad), x += s->row;
            third = padding;
            if (row < s->rows) third = dwfuse_load_row(stride, edges, x, s->pad), x += s->row;
            y = dwfuse_store_row(first, second, third, w, q, s, y);
            first = stride == 1 ? second : third, second = third;
        }
    }
}

DWFUSE_INLINE void dwfuse_strip_1(int edges, const dwfuse_strip *s, const int8_t *w, const int32_t *q, const uint8_t *x,
                                  uint8_t *y) {
    dwfuse_strip_of(1, edges, s, w, q, x, y);
}

DWFUSE_INLINE void dwfuse_strip_2(int edges, const dwfuse_strip *s, const int8_t *w, const int32_t *q, const uint8_t *x,
                                  uint8_t *y) {
    dwfuse_strip_of(2, edges, s, w, q, x, y);
}

#endif

#endif
