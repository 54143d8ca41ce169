/* Inside of a process that is not ours, such as one with TVM's virtual machine: one core, and a failure is returned. */
#include <setjmp.h>
#include <stdio.h>
#include <time.h>

#include "dwfuse_memory.h"
#include "dwfuse_vm.h"

const char *const dwfuse_ticks_unit = "us";

static jmp_buf failure;

int dwfuse_vm_run(int l1_bytes, void (*network)(void *args), void *args) {
  int status = setjmp(failure);
  if (status == 0) {
    status = dwfuse_open(l1_bytes, 1);
    if (status == 0) network(args);
  }
  fflush(stdout);
  for (int slot = 0; slot < DWFUSE_SLOTS; slot++) dwfuse_dma_wait(slot); /* what a failure left under way */
  dwfuse_close();
  return status;
}

int dwfuse_open(int l1_bytes, int cores) {
  (void)cores;
  return dwfuse_memory_open(l1_bytes);
}

void dwfuse_close(void) { dwfuse_memory_close(); }

void dwfuse_barrier(void) {}

void dwfuse_cluster_run(void (*task)(int core, void *args), void *args) {
  task(0, args);
  dwfuse_memory_check_waited();
}

void dwfuse_exit(int status) { longjmp(failure, status); }

int dwfuse_fault(const char *call, long number) {
  (void)call, (void)number;
  return 0;
}

int dwfuse_file_read(const char *name, uint32_t offset, void *data, int bytes) {
  (void)name, (void)offset, (void)data, (void)bytes;
  return -1;
}

unsigned dwfuse_cycles(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (unsigned)now.tv_sec * 1000000u + (unsigned)(now.tv_nsec / 1000);
}
