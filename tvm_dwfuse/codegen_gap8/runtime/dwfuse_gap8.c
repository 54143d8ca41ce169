/* GAP8 and its relatives, through PMSIS: L1 and the DMA of the cluster, HyperRAM as L3, weights from HyperFlash.

   What core 0 touches between transfers lies in L1 (PI_L1): an access to L2 waits behind the DMA's transfers. */
#include <stdio.h>
#include <string.h>

#include "pmsis.h"

#include "bsp/flash/hyperflash.h"
#include "bsp/fs.h"
#include "bsp/fs/hostfs.h"
#include "bsp/fs/readfs.h"
#include "bsp/ram.h"
#include "bsp/ram/hyperram.h"
#include "dwfuse_platform.h"

#ifndef DWFUSE_FOLDER
#define DWFUSE_FOLDER "" /* of input.bin, output.bin and golden/ on the computer that simulates or debugs */
#endif
#ifndef DWFUSE_STACK_0
#define DWFUSE_STACK_0 1536 /* bytes of L1 for the stack of core 0, which also runs PMSIS and starts transfers */
#endif
#ifndef DWFUSE_STACK
#define DWFUSE_STACK 1024 /* and of each other core */
#endif

#define DMA_LIMIT 32764  /* of one command, and of the distance of lines that one command takes */
#define PAINT 0x5A5A5A5A /* what unused stack holds */
#define CHUNK 4096       /* of weights on their way from flash to RAM */

const char *const dwfuse_ticks_unit = "cycles";

typedef struct {
  void (*task)(int core, void *args);
  void *args;
} run_t;

static struct pi_device cluster, ram;
static struct pi_cluster_task cluster_task;
static int core_count, l1_size, l2_size;
static uint8_t *l2;
static uint32_t *stacks; /* in L1: core 0's, then the others' */
static uint32_t l3_base, l3_size;

static PI_L1 uint8_t *l1;
static PI_L1 run_t run;
static PI_L1 uint32_t dma_of_slot[DWFUSE_SLOTS]; /* the DMA's counters of the transfers under way, a bit each */
static pi_task_t l3_tasks[DWFUSE_TRANSFERS];
static uint32_t l3_used, l3_of_slot[DWFUSE_SLOTS]; /* bit sets of l3_tasks */

static int complain(const char *what) {
  printf("dwfuse: %s\n", what);
  return 1;
}

static int refuse(const char *what, long bytes) {
  printf("dwfuse: cannot get %ld bytes of %s\n", bytes, what);
  return 1;
}

/* --- The cluster. --- */

static void run_core(void *unused) {
  (void)unused;
  run.task((int)pi_core_id(), run.args);
}

static void run_cluster(void *unused) { pi_cl_team_fork(core_count, run_core, unused); }

static void start_timer(void *unused) {
  (void)unused;
  pi_perf_conf(1 << PI_PERF_CYCLES);
  pi_perf_reset();
  pi_perf_start();
}

static int send_to_cluster(void (*entry)(void *)) {
  pi_cluster_task(&cluster_task, entry, 0);
  cluster_task.stacks = stacks;
  cluster_task.stack_size = DWFUSE_STACK_0;
  cluster_task.slave_stack_size = DWFUSE_STACK;
  cluster_task.nb_cores = core_count;
  return pi_cluster_send_task_to_cl(&cluster, &cluster_task);
}

static int stacks_bytes(void) { return DWFUSE_STACK_0 + (core_count - 1) * DWFUSE_STACK; }

static int open_stacks(void) {
  stacks = pi_l1_malloc(&cluster, stacks_bytes());
  if (!stacks) return refuse("L1 for the stacks", stacks_bytes());
  for (int i = 0; i < stacks_bytes() / 4; i++) stacks[i] = PAINT;
  return 0;
}

static const uint32_t *stack_of(int core) {
  return core == 0 ? stacks : stacks + (DWFUSE_STACK_0 + (core - 1) * DWFUSE_STACK) / 4;
}

/* Stacks grow down: a change of the lowest word means that a stack has probably run into its neighbour. */
static void check_stacks(void) {
  for (int core = 0; core < core_count; core++)
    if (*stack_of(core) != PAINT)
      dwfuse_fail_number("the stack of core %ld is too small: build with a larger DWFUSE_STACK", core);
}

#ifdef DWFUSE_PROFILE
static int used_stack(int core) {
  int size = core == 0 ? DWFUSE_STACK_0 : DWFUSE_STACK, unused = 0;
  for (const uint32_t *word = stack_of(core); *word == PAINT && unused < size; word++) unused += 4;
  return size - unused;
}

static void print_stacks(void) {
  int most = 0;
  for (int core = 1; core < core_count; core++)
    if (used_stack(core) > most) most = used_stack(core);
  printf("stacks: core 0 used %d of %d bytes, the others at most %d of %d\n", used_stack(0), DWFUSE_STACK_0, most,
         DWFUSE_STACK);
}
#endif

/* Clocks stay as they are at reset unless options ask for others; the faster controller's clock also speeds up L3. */
static int set_clocks(void) {
#ifdef DWFUSE_FC_HZ
  if (pi_freq_set(PI_FREQ_DOMAIN_FC, DWFUSE_FC_HZ)) return complain("the controller does not take that clock");
#endif
#ifdef DWFUSE_CLUSTER_HZ
  if (pi_freq_set(PI_FREQ_DOMAIN_CL, DWFUSE_CLUSTER_HZ)) return complain("the cluster does not take that clock");
#endif
  return 0;
}

int dwfuse_open(int l1_bytes, int cores) {
  struct pi_cluster_conf configuration;
  pi_cluster_conf_init(&configuration);
  configuration.id = 0;
  pi_open_from_conf(&cluster, &configuration);
  if (pi_cluster_open(&cluster)) return complain("the cluster does not start");
  if (set_clocks()) return 1;
  core_count = cores;
  l1_size = l1_bytes;
  l1 = pi_l1_malloc(&cluster, l1_bytes);
  if (!l1) return refuse("L1", l1_bytes);
  if (open_stacks()) return 1;
  return send_to_cluster(start_timer) ? complain("the cluster does not start") : 0;
}

int dwfuse_l2_open(int bytes) {
  l2_size = bytes;
  l2 = pi_l2_malloc(bytes);
  return l2 ? 0 : refuse("L2", bytes);
}

void dwfuse_close(void) {
  if (l2) pi_l2_free(l2, l2_size);
  if (l3_size) {
    pi_ram_free(&ram, l3_base, l3_size);
    pi_ram_close(&ram);
  }
#ifdef DWFUSE_PROFILE
  print_stacks();
#endif
  pi_l1_free(&cluster, stacks, stacks_bytes());
  pi_l1_free(&cluster, l1, l1_size);
  pi_cluster_close(&cluster);
}

uint8_t *dwfuse_l1(void) { return l1; }
uint8_t *dwfuse_l2(void) { return l2; }

void dwfuse_barrier(void) { pi_cl_team_barrier(); }

/* The timer of the cluster, at its address for the fabric controller, counts whether cores sleep or not. */
unsigned dwfuse_cycles(void) { return timer_count_get(timer_base_cl(0, 0, 0)); }

/* --- Sets of L3 transfers under way. --- */

static inline int add_to_slot(uint32_t *used, uint32_t *of_slot) {
  int free_one = __builtin_ctz(~*used);
  if (free_one >= DWFUSE_TRANSFERS) dwfuse_fail(dwfuse_layer(), "too many transfers under way");
  *used |= 1u << free_one;
  *of_slot |= 1u << free_one;
  return free_one;
}

static inline int take_from_slot(uint32_t *used, uint32_t *of_slot) {
  int first = __builtin_ctz(*of_slot);
  *used &= ~(1u << first);
  *of_slot &= ~(1u << first);
  return first;
}

/* --- DMA. --- */

#ifdef DWFUSE_PROFILE
static PI_L1 dwfuse_counters_t counted; /* since the last dwfuse_cluster_run */

static void count_dma(uint32_t *bytes_counter, int bytes) {
  *bytes_counter += (uint32_t)bytes;
  counted.dma_transfers++;
}

static void add_counters(void) {
  dwfuse_counters.activation_in += counted.activation_in;
  dwfuse_counters.activation_out += counted.activation_out;
  dwfuse_counters.constant_in += counted.constant_in;
  dwfuse_counters.dma_transfers += counted.dma_transfers;
  memset(&counted, 0, sizeof counted);
}
#else
#define count_dma(bytes_counter, bytes) ((void)0)
#define add_counters() ((void)0)
#endif

static inline unsigned int dma_command(int inward, int bytes, int is_2d) {
  return plp_dma_getCmd(inward, bytes, is_2d, PLP_DMA_TRIG_EVT, PLP_DMA_NO_TRIG_IRQ, PLP_DMA_SHARED);
}

/* Straight to the DMA's registers, by few instructions: the cores' code shares a cache of 4 KB, and what is fetched anew
   from L2 waits behind transfers. One counter stands for all commands until another is taken. */
static void start_dma(int slot, uint32_t at, uint32_t l2_at, int lines, int line_bytes, int l2_stride, int inward) {
  int run = line_bytes;
  if (lines > 1 && l2_stride == line_bytes) {
    run = lines * line_bytes;
    lines = 1;
  }
  dma_of_slot[slot] |= 1u << plp_dma_counter_alloc();
  if (lines > 1 && l2_stride < DMA_LIMIT) {
    plp_dma_cmd_push_2d(dma_command(inward, lines * run, PLP_DMA_2D), at, l2_at, l2_stride, run);
    return;
  }
  for (; lines > 0; lines--, at += run, l2_at += l2_stride)
    for (int done = 0; done < run; done += DMA_LIMIT) {
      int part = run - done < DMA_LIMIT ? run - done : DMA_LIMIT;
      plp_dma_cmd_push(dma_command(inward, part, PLP_DMA_1D), at + done, l2_at + done);
    }
}

void dwfuse_dma_in(int slot, int kind, void *to, const void *from, int lines, int line_bytes, int l2_stride) {
  (void)kind;
  count_dma(kind == DWFUSE_CONSTANT ? &counted.constant_in : &counted.activation_in, lines * line_bytes);
  start_dma(slot, (uint32_t)to, (uint32_t)from, lines, line_bytes, l2_stride, PLP_DMA_EXT2LOC);
}

void dwfuse_dma_out(int slot, int kind, const void *from, void *to, int lines, int line_bytes, int l2_stride) {
  (void)kind;
  count_dma(&counted.activation_out, lines * line_bytes);
  start_dma(slot, (uint32_t)from, (uint32_t)to, lines, line_bytes, l2_stride, PLP_DMA_LOC2EXT);
}

void dwfuse_dma_wait(int slot) {
  uint32_t counters = dma_of_slot[slot];
  if (!counters) return;
  while (plp_dma_status() & counters) eu_evt_maskWaitAndClr(1 << ARCHI_CL_EVT_DMA0);
  DMA_WRITE(counters, PLP_DMA_STATUS_OFFSET); /* gives the counters back */
  dma_of_slot[slot] = 0;
}

void dwfuse_cluster_run(void (*task)(int core, void *args), void *args) {
  run.task = task;
  run.args = args;
  if (send_to_cluster(run_cluster)) dwfuse_fail(dwfuse_layer(), "the cluster does not take the task");
  check_stacks();
  add_counters();
}

/* --- L3. --- */

static int open_ram(uint32_t bytes) {
  static struct pi_hyperram_conf configuration;
  pi_hyperram_conf_init(&configuration);
  pi_open_from_conf(&ram, &configuration);
  if (pi_ram_open(&ram)) return complain("HyperRAM does not open");
  if (pi_ram_alloc(&ram, &l3_base, bytes)) return refuse("HyperRAM", (long)bytes);
  l3_size = bytes;
  return 0;
}

/* RAM has no status to ask for, so what was written is read back. */
static int copy_chunks(pi_fs_file_t *file, uint32_t bytes, uint8_t *chunk, uint8_t *back) {
  for (uint32_t done = 0; done < bytes; done += CHUNK) {
    int part = bytes - done < CHUNK ? (int)(bytes - done) : CHUNK;
    if (pi_fs_read(file, chunk, part) != part) return complain("weights.bin in flash is too short");
    pi_ram_write(&ram, l3_base + done, chunk, part);
    pi_ram_read(&ram, l3_base + done, back, part);
    if (memcmp(chunk, back, part)) return complain("HyperRAM does not keep what is written");
  }
  return 0;
}

static int copy_weights(pi_fs_file_t *file, uint32_t bytes) {
  uint8_t *buffers = pi_l2_malloc(2 * CHUNK);
  if (!buffers) return refuse("L2 to copy weights", 2 * CHUNK);
  int failed = copy_chunks(file, bytes, buffers, buffers + CHUNK);
  pi_l2_free(buffers, 2 * CHUNK);
  return failed;
}

static int load_weights(uint32_t bytes) {
  static struct pi_device flash, files;
  static struct pi_hyperflash_conf flash_configuration;
  static struct pi_readfs_conf configuration;
  pi_hyperflash_conf_init(&flash_configuration);
  pi_open_from_conf(&flash, &flash_configuration);
  if (pi_flash_open(&flash)) return complain("flash does not open");
  pi_readfs_conf_init(&configuration);
  configuration.fs.flash = &flash;
  pi_open_from_conf(&files, &configuration);
  if (pi_fs_mount(&files)) return complain("flash has no file system: is READFS_FILES set in the Makefile?");
  pi_fs_file_t *file = pi_fs_open(&files, "weights.bin", 0);
  if (!file) return complain("flash has no weights.bin: is it in READFS_FILES?");
  int failed = copy_weights(file, bytes);
  pi_fs_close(file);
  pi_fs_unmount(&files);
  pi_flash_close(&flash);
  return failed;
}

int dwfuse_l3_open(uint32_t weights_bytes, uint32_t l3_bytes) {
  if (open_ram(l3_bytes)) return 1;
  return weights_bytes ? load_weights(weights_bytes) : 0;
}

static pi_task_t *start_l3(int slot, uint32_t offset, int bytes) {
  if (bytes < 1 || offset > l3_size || (uint32_t)bytes > l3_size - offset)
    dwfuse_fail_number("a transfer of %ld bytes goes outside L3", bytes);
  dwfuse_counters.l3_transfers++;
  return pi_task_block(&l3_tasks[add_to_slot(&l3_used, &l3_of_slot[slot])]);
}

void dwfuse_l3_read(int slot, void *to, uint32_t offset, int bytes) {
  pi_task_t *task = start_l3(slot, offset, bytes);
  dwfuse_counters.l3_in += (uint32_t)bytes;
  pi_ram_read_async(&ram, l3_base + offset, to, bytes, task);
}

void dwfuse_l3_write(int slot, const void *from, uint32_t offset, int bytes) {
  pi_task_t *task = start_l3(slot, offset, bytes);
  dwfuse_counters.l3_out += (uint32_t)bytes;
  pi_ram_write_async(&ram, l3_base + offset, (void *)from, bytes, task);
}

void dwfuse_l3_wait(int slot) {
  while (l3_of_slot[slot]) pi_task_wait_on(&l3_tasks[take_from_slot(&l3_used, &l3_of_slot[slot])]);
}

/* --- Files of the computer that the board or simulator is tied to. --- */

static pi_fs_file_t *open_file(const char *name, int flags) {
  static struct pi_device files;
  static struct pi_hostfs_conf configuration;
  char path[256];
  if (sizeof DWFUSE_FOLDER + strlen(name) > sizeof path) return 0;
  strcpy(path, DWFUSE_FOLDER);
  strcat(path, name);
  pi_hostfs_conf_init(&configuration);
  pi_open_from_conf(&files, &configuration);
  return pi_fs_mount(&files) ? 0 : pi_fs_open(&files, path, flags);
}

int dwfuse_file_read(const char *name, uint32_t offset, void *data, int bytes) {
  pi_fs_file_t *file = open_file(name, PI_FS_FLAGS_READ);
  if (!file) return -1;
  int got = pi_fs_seek(file, offset) ? 0 : pi_fs_read(file, data, bytes);
  pi_fs_close(file);
  return got;
}

int dwfuse_file_write(const char *name, const void *data, int bytes) {
  pi_fs_file_t *file = open_file(name, PI_FS_FLAGS_WRITE);
  if (!file) return 1;
  int put = pi_fs_write(file, (void *)data, bytes);
  pi_fs_close(file);
  return put != bytes;
}

void dwfuse_exit(int status) {
  pmsis_exit(status);
  for (;;) {
  }
}

static void start(void) { dwfuse_exit(dwfuse_main()); }

int main(void) { return pmsis_kickoff((void *)start); }
