/* The host: cores are threads, core 0 is the one that calls; memories are allocated. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dwfuse_memory.h"

#define MAX_CORES 64

const char *const dwfuse_ticks_unit = "us";

static pthread_t threads[MAX_CORES];

/* Used in turn. With one, the thread sanitizer would take who wakes up late from a barrier as ordered after those who
   already wait in the next, and miss races between them. */
static pthread_barrier_t barriers[2];
static __thread unsigned passed;

static int core_count;
static void (*current_task)(int core, void *args); /* NULL ends the threads */
static void *current_args;

void dwfuse_barrier(void) {
  if (core_count > 1) pthread_barrier_wait(&barriers[passed++ % 2]);
}

static void *work(void *core) {
  for (;;) {
    dwfuse_barrier();
    if (!current_task) return 0;
    current_task((int)(intptr_t)core, current_args);
    dwfuse_barrier();
  }
}

int dwfuse_open(int l1_bytes, int cores) {
  if (cores < 1 || cores > MAX_CORES) {
    printf("dwfuse: %d cores are not possible\n", cores);
    return 1;
  }
  if (dwfuse_memory_open(l1_bytes)) return 1;
  core_count = cores;
  passed = 0;
  for (int i = 0; i < 2; i++) pthread_barrier_init(&barriers[i], 0, (unsigned)cores);
  for (int core = 1; core < cores; core++) {
    if (pthread_create(&threads[core], 0, work, (void *)(intptr_t)core) == 0) continue;
    printf("dwfuse: cannot start the thread of core %d\n", core);
    dwfuse_exit(1);
  }
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

void dwfuse_close(void) {
  current_task = 0;
  dwfuse_barrier();
  for (int core = 1; core < core_count; core++) pthread_join(threads[core], 0);
  for (int i = 0; i < 2; i++) pthread_barrier_destroy(&barriers[i]);
  dwfuse_memory_close();
}

/* DWFUSE_FAIL=l1, l2, l3_open or l3_read:N makes that call, or the N-th of them from 0, fail. */
int dwfuse_fault(const char *call, long number) {
  const char *wanted = getenv("DWFUSE_FAIL");
  size_t length = strlen(call);
  if (!wanted || strncmp(wanted, call, length) != 0) return 0;
  if (wanted[length] == ':') return atol(wanted + length + 1) == number;
  return wanted[length] == 0;
}

unsigned dwfuse_cycles(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (unsigned)now.tv_sec * 1000000u + (unsigned)(now.tv_nsec / 1000);
}

void dwfuse_exit(int status) {
  fflush(stdout);
  _exit(status);
}

int main(void) { return dwfuse_main(); }
