/* A plugin for qemu-aarch64 (user mode, plugin API version 1) that counts what a program executes between markers.
 *
 * Counting starts at the instruction `movz xzr, #0xdf01` and stops at `movz xzr, #0xdf02`; both have no effect on a real
 * machine and are not counted themselves. Several such sections add up; the program has one thread. At exit the plugin
 * writes one line of JSON into the file of its argument `out=FILE`, and into that of `profile=FILE`, if there is one, a
 * line for each stretch of code that was executed: its address, its instructions, and how often.
 *
 * Loads and stores are instructions, told by their opcode, and not memory accesses: qemu splits one of 128 bits in two.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The part of qemu's plugin API that is used here: Debian ships no header of it. ---- */

#define EXPORT __attribute__((visibility("default")))

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*translated_t)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*executed_t)(unsigned cpu, void *data);
typedef void (*exited_t)(qemu_plugin_id_t, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, executed_t, enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum qemu_plugin_op, void *, uint64_t);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exited_t, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = 1;

/* ---- What an instruction is: Arm ARM (DDI 0487), chapter C4, "A64 instruction set encoding". ---- */

enum { START = 0xd29be03f, STOP = 0xd29be05f }; /* movz xzr, #0xdf01 and #0xdf02 */

static bool bit(uint32_t word, int place) { return word >> place & 1; }

static bool is_memory_instruction(uint32_t word) { return bit(word, 27) && !bit(word, 25); }

/* Of SVE, whose prefetches are taken for loads. */
static bool is_scalable_load(uint32_t word) { return (word & 0x9e000000) == 0x84000000 && word >> 29 != 7; }
static bool is_scalable_store(uint32_t word) { return word >> 25 == 0x72; }

/* Read-modify-write of the LSE extension, swap and compare-and-swap: both a load and a store. */
static bool is_atomic(uint32_t word) {
    bool atomic_operation = (word & 0x3f200c00) == 0x38200000 && (word & 0xfc00) != 0xc000;
    bool compare_and_swap = (word & 0x3fa07c00) == 0x08a07c00 || (word & 0xbfa07c00) == 0x08207c00;
    return atomic_operation || compare_and_swap;
}

static bool is_prefetch(uint32_t word) {
    bool literal = (word & 0xff000000) == 0xd8000000;
    bool scaled = (word & 0xffc00000) == 0xf9800000, unscaled = (word & 0xffe00c00) == 0xf8800000;
    bool by_register = (word & 0xffe00c00) == 0xf8a00800;
    return literal || scaled || unscaled || by_register;
}

static bool is_load(uint32_t word) {
    if (is_scalable_load(word)) return true;
    if (!is_memory_instruction(word) || is_prefetch(word)) return false;
    if (is_atomic(word)) return true;
    if ((word & 0x3b000000) == 0x18000000) return true;                    /* literal */
    if ((word & 0x3b000000) == 0x19000000) return (word & 0xc00000) != 0;  /* unscaled, with acquire or release */
    if ((word & 0x3c000000) == 0x38000000) return (word & 0xc00000) != 0;  /* one general register */
    return bit(word, 22);
}

static bool is_store(uint32_t word) {
    if (is_scalable_store(word)) return true;
    if (!is_memory_instruction(word) || is_prefetch(word)) return false;
    return is_atomic(word) || !is_load(word);
}

/* fmla and fmls of vectors, both operands whole vectors or one of them a lane; then those of SVE and their like. */
static bool is_multiply_add(uint32_t word) {
    bool advanced_simd = (word & 0xbf20fc00) == 0x0e20cc00 || (word & 0xbf80b400) == 0x0f801000;
    bool scalable = (word & 0xff200000) == 0x65200000 || (word & 0xff20f800) == 0x64200000;
    return advanced_simd || scalable;
}

/* ---- Counting. ---- */

enum { INSTRUCTIONS, LOADS, STORES, MULTIPLY_ADDS, COUNTERS };

static const char *const NAMES[COUNTERS] = {"instructions", "loads", "stores", "multiply_adds"};
static uint64_t executed[COUNTERS]; /* since the program began */
static uint64_t counted[COUNTERS];  /* between markers; while counting, short of what had been executed at the start */
static uint64_t starts, stops;
static bool counting;
static char result_file[4096], profile_file[4096];

/* Instructions that follow each other without a marker or the target of a branch between them. */
struct stretch {
    struct stretch *next;
    uint64_t address, instructions, executed;
};
static struct stretch *stretches;

static void start(unsigned cpu, void *data) {
    starts++;
    counting = true;
    for (int i = 0; i < COUNTERS; i++) counted[i] -= executed[i];
}

static void stop(unsigned cpu, void *data) {
    stops++;
    counting = false;
    for (int i = 0; i < COUNTERS; i++) counted[i] += executed[i];
}

static void note(unsigned cpu, void *data) { ((struct stretch *)data)->executed += counting; }

static uint32_t word_of(struct qemu_plugin_insn *instruction) {
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
    return word;
}

/* Lets a stretch be added up whenever its first instruction is executed, and noted when there is to be a profile. */
static void count_stretch(struct qemu_plugin_insn *first, const uint64_t sums[COUNTERS]) {
    if (!first) return;
    for (int i = 0; i < COUNTERS; i++)
        if (sums[i]) qemu_plugin_register_vcpu_insn_exec_inline(first, QEMU_PLUGIN_INLINE_ADD_U64, &executed[i], sums[i]);
    if (!profile_file[0]) return;
    struct stretch *stretch = calloc(1, sizeof *stretch);
    if (!stretch) abort();
    stretch->next = stretches;
    stretch->address = qemu_plugin_insn_vaddr(first);
    stretch->instructions = sums[INSTRUCTIONS];
    stretches = stretch;
    qemu_plugin_register_vcpu_insn_exec_cb(first, note, QEMU_PLUGIN_CB_NO_REGS, stretch);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    struct qemu_plugin_insn *first = NULL;
    uint64_t sums[COUNTERS] = {0};
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint32_t word = word_of(instruction);
        if (word == START || word == STOP) {
            count_stretch(first, sums);
            first = NULL;
            memset(sums, 0, sizeof sums);
            executed_t marker = word == START ? start : stop;
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, marker, QEMU_PLUGIN_CB_NO_REGS, NULL);
            continue;
        }
        if (!first) first = instruction;
        sums[INSTRUCTIONS]++;
        sums[LOADS] += is_load(word);
        sums[STORES] += is_store(word);
        sums[MULTIPLY_ADDS] += is_multiply_add(word);
    }
    count_stretch(first, sums);
}

static void write_counts(FILE *file) {
    fprintf(file, "{\"starts\": %" PRIu64 ", \"stops\": %" PRIu64, starts, stops);
    for (int i = 0; i < COUNTERS; i++) fprintf(file, ", \"%s\": %" PRIu64, NAMES[i], counted[i]);
    fprintf(file, "}\n");
}

static void write_profile(FILE *file) {
    for (const struct stretch *it = stretches; it; it = it->next)
        if (it->executed) fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", it->address, it->instructions, it->executed);
}

static void write_file(const char *name, void (*write)(FILE *)) {
    FILE *file = fopen(name, "w");
    if (!file) return;
    write(file);
    fclose(file);
}

static void exited(qemu_plugin_id_t id, void *data) {
    write_file(result_file, write_counts);
    if (profile_file[0]) write_file(profile_file, write_profile);
}

static void read_option(const char *option) {
    if (!strncmp(option, "out=", 4)) snprintf(result_file, sizeof result_file, "%s", option + 4);
    if (!strncmp(option, "profile=", 8)) snprintf(profile_file, sizeof profile_file, "%s", option + 8);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    for (int i = 0; i < argc; i++) read_option(argv[i]);
    if (!result_file[0]) {
        fprintf(stderr, "count_plugin: the argument out=FILE is missing\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, exited, NULL);
    return 0;
}
