/* Plain RV32 on QEMU's "virt" machine without firmware: hart 0 is the fabric controller and core 0, the others wait.

   Waiting harts sleep (wfi) and are woken by software interrupts, which stay masked: under -icount QEMU runs one hart
   until it sleeps, so spinning would both take for ever and be counted as work. */
#include <stdio.h>
#include <stdlib.h>

#include "dwfuse_memory.h"

void dwfuse_rv32_main(void) __attribute__((noreturn)); /* called by dwfuse_rv32_start.S on hart 0 */
void dwfuse_rv32_worker(int core) __attribute__((noreturn)); /* and on the others, once dwfuse_open has woken them */

#define HARTS 8 /* dwfuse_rv32.ld has as many stacks */

const char *const dwfuse_ticks_unit = "instructions";

/* The core-local interruptor of the virt machine: one word for each hart; nonzero interrupts it. */
static volatile uint32_t *const software_interrupt = (volatile uint32_t *)0x02000000;

static int core_count = 1;
static uint32_t arrived, generation;
static void (*current_task)(int core, void *args);
static void *current_args;

static int hart(void) {
  int id;
  __asm__ volatile(".option push\n.option arch, +zicsr\ncsrr %0, mhartid\n.option pop" : "=r"(id));
  return id;
}

void dwfuse_barrier(void) {
  if (core_count == 1) return;
  int self = hart();
  uint32_t mine = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == (uint32_t)core_count) {
    __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&generation, mine + 1, __ATOMIC_RELEASE);
    for (int core = 0; core < core_count; core++)
      if (core != self) software_interrupt[core] = 1;
    return;
  }
  for (;;) {
    /* Cleared before looking: who ends the barrier sets the generation first, so no interrupt is lost. */
    software_interrupt[self] = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&generation, __ATOMIC_ACQUIRE) != mine) return;
    __asm__ volatile("wfi");
  }
}

void dwfuse_rv32_worker(int core) {
  for (;;) {
    dwfuse_barrier();
    current_task(core, current_args);
    dwfuse_barrier();
  }
}

int dwfuse_open(int l1_bytes, int cores) {
  int awake = core_count > 1 && cores != core_count; /* harts once woken cannot be sent back */
  if (cores < 1 || cores > HARTS || awake) {
    printf("dwfuse: %d cores are not possible: there are %d\n", cores, awake ? core_count : HARTS);
    return 1;
  }
  if (dwfuse_memory_open(l1_bytes)) return 1;
  if (cores == core_count) return 0;
  core_count = cores;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  for (int core = 1; core < cores; core++) software_interrupt[core] = 1;
  return 0;
}

void dwfuse_cluster_run(void (*task)(int core, void *args), void *args) {
  current_task = task;
  current_args = args;
  dwfuse_barrier();
  task(0, args);
  dwfuse_barrier();
  dwfuse_memory_check_waited();
}

/* The other harts stay asleep in the barrier until the next run or the program's end. */
void dwfuse_close(void) { dwfuse_memory_close(); }

int dwfuse_fault(const char *call, long number) {
  (void)call;
  (void)number;
  return 0;
}

unsigned dwfuse_cycles(void) {
  unsigned count;
  __asm__ volatile(".option push\n.option arch, +zicsr\ncsrr %0, minstret\n.option pop" : "=r"(count));
  return count;
}

void dwfuse_exit(int status) {
  fflush(stdout);
  _Exit(status);
}

void dwfuse_rv32_main(void) { dwfuse_exit(dwfuse_main()); }
