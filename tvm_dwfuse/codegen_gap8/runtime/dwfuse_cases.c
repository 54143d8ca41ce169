/* A program that runs many cases of layer functions: cases.bin in, results.bin and output<case>.bin out.

   cases.bin, 32-bit words: count, cores; then for each case: index in dwfuse_case_calls, l1_bytes, number of arguments,
   position of the output; then for each argument: 0 and its value, or 1, its bytes and its contents.
   results.bin: for each case: ticks and the counters. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dwfuse_cases.h"

#define MAX_ARGUMENTS 64

/* Where no sanitizer watches, bytes around each array that must not change. */
#ifdef __SANITIZE_ADDRESS__
#define GUARD 0
#else
#define GUARD 32
#endif
#define GUARD_BYTE 0x5C

typedef struct {
  void (*call)(int core, uint8_t *l1, const dwfuse_argument_t *arguments);
  dwfuse_argument_t arguments[MAX_ARGUMENTS];
} job_t;

/* The C library of GAP8 has malloc for the controller's own small memory, and keeps nothing back that is printed. */
#ifdef __pulp__
#include "pmsis.h"
#define ALLOCATE(bytes) pi_l2_malloc((int)(bytes))
#define RELEASE(data, bytes) pi_l2_free(data, (int)(bytes))
#define FLUSH() ((void)0)
#else
#define ALLOCATE(bytes) malloc(bytes)
#define RELEASE(data, bytes) free(data)
#define FLUSH() ((void)fflush(stdout))
#endif

static uint32_t position; /* in cases.bin */

static void take(void *data, int bytes) {
  if (bytes && dwfuse_file_read("cases.bin", position, data, bytes) != bytes) dwfuse_fail(0, "cases.bin is too short");
  position += (uint32_t)bytes;
}

static int take_int(void) {
  int value;
  take(&value, 4);
  return value;
}

static void *allocate(size_t bytes) {
  void *data = ALLOCATE(bytes);
  if (!data) dwfuse_fail_number("cannot allocate an array of %ld bytes", (long)bytes);
  return data;
}

static size_t allocated(int bytes) {
  size_t size = (size_t)bytes + 2 * GUARD;
  return size ? size : 1;
}

static void *take_array(int bytes) {
  uint8_t *data = allocate(allocated(bytes));
  memset(data, GUARD_BYTE, GUARD);
  take(data + GUARD, bytes);
  memset(data + GUARD + bytes, GUARD_BYTE, GUARD);
  return data + GUARD;
}

static void release_array(uint8_t *array, int bytes, int argument) {
  for (int i = 0; i < GUARD; i++)
    if (array[-1 - i] != GUARD_BYTE || array[bytes + i] != GUARD_BYTE)
      dwfuse_fail_number("argument %ld was written outside its bounds", argument);
  RELEASE(array - GUARD, allocated(bytes));
}

static void run_job(int core, void *args) {
  const job_t *job = args;
  job->call(core, dwfuse_l1(), job->arguments);
}

static void write_output(int number, const void *data, int bytes) {
  char name[32];
  sprintf(name, "output%d.bin", number);
  if (dwfuse_file_write(name, data, bytes)) dwfuse_fail(0, "an output file cannot be written");
}

typedef struct {
  uint32_t ticks;
  dwfuse_counters_t counters;
} result_t;

static void run_case(int number, int cores, result_t *result) {
  static job_t job;
  int bytes[MAX_ARGUMENTS] = {0};
  job.call = dwfuse_case_calls[take_int()];
  int l1_bytes = take_int(), count = take_int(), output = take_int();
  if (count > MAX_ARGUMENTS) dwfuse_fail_number("%ld arguments are too many", count);
  for (int i = 0; i < count; i++) {
    int is_array = take_int(), value = take_int();
    job.arguments[i].integer = value;
    if (!is_array) continue;
    bytes[i] = value;
    job.arguments[i].array = take_array(value);
  }
  if (dwfuse_open(l1_bytes, cores)) dwfuse_exit(1);
  memset(&dwfuse_counters, 0, sizeof dwfuse_counters);
  unsigned ticks = dwfuse_cycles();
  dwfuse_cluster_run(run_job, &job);
  ticks = dwfuse_cycles() - ticks;
  result->ticks = ticks;
  result->counters = dwfuse_counters;
  write_output(number, job.arguments[output].array, bytes[output]);
  for (int i = 0; i < count; i++)
    if (bytes[i]) release_array(job.arguments[i].array, bytes[i], i);
  dwfuse_close();
}

int dwfuse_main(void) {
  int count = take_int(), cores = take_int();
  size_t bytes = ((size_t)count + 1) * sizeof(result_t);
  result_t *results = allocate(bytes);
  for (int number = 0; number < count; number++) {
    printf("case %d\n", number); /* tells which one failed, however it does */
    FLUSH();
    run_case(number, cores, &results[number]);
  }
  if (dwfuse_file_write("results.bin", results, count * (int)sizeof(result_t))) dwfuse_fail(0, "results.bin cannot be written");
  RELEASE(results, bytes);
  return 0;
}
