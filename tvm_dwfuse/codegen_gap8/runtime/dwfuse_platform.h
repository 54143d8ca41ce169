/* What the parts of the runtime ask of a platform; generated code does not use it. */
#ifndef DWFUSE_PLATFORM_H
#define DWFUSE_PLATFORM_H

#include "dwfuse_runtime.h"

/* The program: dwfuse_main.c runs the network. Returns the exit status. */
int dwfuse_main(void);

/* Bytes read from `offset` on; fewer than asked for at the file's end, negative if the file cannot be opened. */
int dwfuse_file_read(const char *name, uint32_t offset, void *data, int bytes);

/* 0, or nonzero when the file could not be written whole. */
int dwfuse_file_write(const char *name, const void *data, int bytes);

/* Ends the program at once, from any core. */
void dwfuse_exit(int status) __attribute__((noreturn));

/* dwfuse_fail, with a number in place of the %ld in `format`. */
void dwfuse_fail_number(const char *format, long number) __attribute__((noreturn));

/* Name of the layer being computed, or NULL. */
const char *dwfuse_layer(void);

/* What dwfuse_cycles counts: "cycles", "instructions" or "us". */
extern const char *const dwfuse_ticks_unit;

/* Comparisons with golden files so far. */
extern unsigned dwfuse_checked;

/* One row for each layer of the run that has just ended, with -DDWFUSE_PROFILE. */
void dwfuse_profile_print(void);

/* Counts a transfer between L2 and L1. */
static inline void dwfuse_count_dma(uint32_t *bytes_counter, int bytes) {
  *bytes_counter += (uint32_t)bytes;
  dwfuse_counters.dma_transfers++;
}

/* The counter that bytes of that kind, from L2 to L1, belong to. */
static inline uint32_t *dwfuse_counter_in(int kind) {
  return kind == DWFUSE_CONSTANT ? &dwfuse_counters.constant_in : &dwfuse_counters.activation_in;
}

#endif
