#include "dwfuse_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POISON 0xA5

typedef struct {
  uint8_t *to;
  const uint8_t *from;
  int lines, line_bytes, to_stride, from_stride;
} copy_t;

typedef struct {
  copy_t copies[DWFUSE_TRANSFERS];
  int count; /* transfers started and not yet waited for */
} slot_t;

typedef struct {
  slot_t slots[DWFUSE_SLOTS];
  int under_way;
} engine_t;

static uint8_t *l1, *l2, *l3;
static int l1_size;
static uint32_t l3_size;
static long l3_reads;
static engine_t dma, l3_port;

static int refuse(const char *what, long bytes) {
  printf("dwfuse: cannot allocate %ld bytes of %s\n", bytes, what);
  return 1;
}

static void *allocate(const char *fault, uint32_t bytes) {
  return dwfuse_fault(fault, 0) ? 0 : malloc(bytes ? bytes : 1);
}

int dwfuse_memory_open(int l1_bytes) {
  l1 = allocate("l1", (uint32_t)l1_bytes);
  if (!l1) return refuse("L1", l1_bytes);
  memset(l1, POISON, (size_t)l1_bytes);
  l1_size = l1_bytes;
  return 0;
}

int dwfuse_l2_open(int bytes) {
  l2 = allocate("l2", (uint32_t)bytes);
  if (!l2) return refuse("L2", bytes);
  memset(l2, POISON, (size_t)bytes);
  return 0;
}

int dwfuse_l3_open(uint32_t weights_bytes, uint32_t l3_bytes) {
  l3 = allocate("l3_open", l3_bytes);
  if (!l3) return refuse("L3", (long)l3_bytes);
  memset(l3, POISON, l3_bytes);
  l3_size = l3_bytes;
  if (weights_bytes == 0 || dwfuse_file_read("weights.bin", 0, l3, (int)weights_bytes) == (int)weights_bytes) return 0;
  printf("dwfuse: weights.bin cannot be read: %lu bytes are needed\n", (unsigned long)weights_bytes);
  return 1;
}

uint8_t *dwfuse_l1(void) { return l1; }
uint8_t *dwfuse_l2(void) { return l2; }

static void run_copy(const copy_t *copy) {
  for (int line = 0; line < copy->lines; line++)
    memcpy(copy->to + line * copy->to_stride, copy->from + line * copy->from_stride, (size_t)copy->line_bytes);
}

#ifdef DWFUSE_DMA_LATE
/* The destination is undefined until the wait; the pattern makes reading it too early show. */
static void poison(const copy_t *copy) {
  for (int line = 0; line < copy->lines; line++)
    memset(copy->to + line * copy->to_stride, POISON, (size_t)copy->line_bytes);
}
#endif

static void start(engine_t *engine, int slot, copy_t copy) {
  if (slot < 0 || slot >= DWFUSE_SLOTS) dwfuse_fail_number("there is no transfer slot %ld", slot);
  if (engine->under_way++ == DWFUSE_TRANSFERS) dwfuse_fail_number("too many transfers under way, on slot %ld", slot);
#ifdef DWFUSE_DMA_LATE
  poison(&copy);
#else
  run_copy(&copy);
#endif
  slot_t *queue = &engine->slots[slot];
  queue->copies[queue->count++] = copy;
}

static void finish(engine_t *engine, int slot) {
  if (slot < 0 || slot >= DWFUSE_SLOTS) dwfuse_fail_number("there is no transfer slot %ld", slot);
  slot_t *queue = &engine->slots[slot];
#ifdef DWFUSE_DMA_LATE
  for (int i = 0; i < queue->count; i++) run_copy(&queue->copies[i]);
#endif
  engine->under_way -= queue->count;
  queue->count = 0;
}

static void check_waited(const engine_t *engine, const char *complaint) {
  for (int slot = 0; slot < DWFUSE_SLOTS; slot++)
    if (engine->slots[slot].count) dwfuse_fail_number(complaint, slot);
}

void dwfuse_memory_check_waited(void) { check_waited(&dma, "nobody waited for the transfer on DMA slot %ld"); }

void dwfuse_memory_close(void) {
  check_waited(&l3_port, "nobody waited for the transfer on L3 slot %ld");
  free(l1);
  free(l2);
  free(l3);
  l1 = l2 = l3 = 0;
}

/* What the DMA engine would refuse, and what would overwrite somebody's stack. */
static void check_dma(const uint8_t *at, int lines, int line_bytes) {
  long bytes = (long)lines * line_bytes;
  if (lines < 1 || line_bytes < 1 || bytes > 65535) dwfuse_fail_number("a transfer of %ld bytes is impossible", bytes);
  if (at < l1 || bytes > l1 + l1_size - at) dwfuse_fail_number("a transfer of %ld bytes goes outside L1", bytes);
}

void dwfuse_dma_in(int slot, int kind, void *to, const void *from, int lines, int line_bytes, int l2_stride) {
  check_dma(to, lines, line_bytes);
  dwfuse_count_dma(dwfuse_counter_in(kind), lines * line_bytes);
  start(&dma, slot, (copy_t){to, from, lines, line_bytes, line_bytes, l2_stride});
}

void dwfuse_dma_out(int slot, int kind, const void *from, void *to, int lines, int line_bytes, int l2_stride) {
  (void)kind;
  check_dma(from, lines, line_bytes);
  dwfuse_count_dma(&dwfuse_counters.activation_out, lines * line_bytes);
  start(&dma, slot, (copy_t){to, from, lines, line_bytes, l2_stride, line_bytes});
}

void dwfuse_dma_wait(int slot) { finish(&dma, slot); }

static void check_l3(uint32_t offset, int bytes) {
  if (bytes < 1 || offset > l3_size || (uint32_t)bytes > l3_size - offset)
    dwfuse_fail_number("a transfer of %ld bytes goes outside L3", bytes);
  dwfuse_counters.l3_transfers++;
}

void dwfuse_l3_read(int slot, void *to, uint32_t offset, int bytes) {
  check_l3(offset, bytes);
  dwfuse_counters.l3_in += (uint32_t)bytes;
  if (dwfuse_fault("l3_read", l3_reads++)) dwfuse_fail_number("reading %ld bytes of L3 failed", bytes);
  start(&l3_port, slot, (copy_t){to, l3 + offset, 1, bytes, bytes, bytes});
}

void dwfuse_l3_write(int slot, const void *from, uint32_t offset, int bytes) {
  check_l3(offset, bytes);
  dwfuse_counters.l3_out += (uint32_t)bytes;
  start(&l3_port, slot, (copy_t){l3 + offset, from, 1, bytes, bytes, bytes});
}

void dwfuse_l3_wait(int slot) { finish(&l3_port, slot); }
