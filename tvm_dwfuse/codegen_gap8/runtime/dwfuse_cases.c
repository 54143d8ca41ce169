/* A program that runs many cases of layer functions, for tests: cases.bin in, results.bin out, 32-bit words.

   cases.bin: count, bytes of results.bin, cores; then for each case: index in dwfuse_case_calls, l1_bytes, number of
   arguments, position of the output; then for each argument: 0 and its value, or 1, its bytes and its contents.
   results.bin: for each case: ticks, the counters, the output's contents. */
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

static void *allocate(int bytes) {
  size_t size = (size_t)bytes + 2 * GUARD;
  uint8_t *data = malloc(size ? size : 1);
  if (!data) dwfuse_fail_number("cannot allocate an array of %ld bytes", bytes);
  return data;
}

static void *take_array(int bytes) {
  uint8_t *data = allocate(bytes);
  memset(data, GUARD_BYTE, GUARD);
  take(data + GUARD, bytes);
  memset(data + GUARD + bytes, GUARD_BYTE, GUARD);
  return data + GUARD;
}

static void release_array(uint8_t *array, int bytes, int argument) {
  for (int i = 0; i < GUARD; i++)
    if (array[-1 - i] != GUARD_BYTE || array[bytes + i] != GUARD_BYTE)
      dwfuse_fail_number("argument %ld was written outside its bounds", argument);
  free(array - GUARD);
}

static void run_job(int core, void *args) {
  const job_t *job = args;
  job->call(core, dwfuse_l1(), job->arguments);
}

static uint8_t *put(uint8_t *results, const void *data, int bytes) {
  memcpy(results, data, (size_t)bytes);
  return results + bytes;
}

static uint8_t *run_case(int cores, uint8_t *results) {
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
  results = put(results, &ticks, 4);
  results = put(results, &dwfuse_counters, sizeof dwfuse_counters);
  results = put(results, job.arguments[output].array, bytes[output]);
  for (int i = 0; i < count; i++)
    if (bytes[i]) release_array(job.arguments[i].array, bytes[i], i);
  dwfuse_close();
  return results;
}

int dwfuse_main(void) {
  int count = take_int(), bytes = take_int(), cores = take_int();
  uint8_t *results = malloc((size_t)bytes + 1), *end = results;
  for (int number = 0; number < count; number++) {
    printf("case %d\n", number); /* tells which one failed, however it does */
    fflush(stdout);
    end = run_case(cores, end);
  }
  if (end != results + bytes || dwfuse_file_write("results.bin", results, bytes))
    dwfuse_fail(0, "results.bin cannot be written");
  free(results);
  return 0;
}
