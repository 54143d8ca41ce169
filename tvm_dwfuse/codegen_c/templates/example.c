/* Runs the network ${model} on tensors in files; see README.txt.
 *
 * example INPUT.bin... OUTPUT.bin... [--runs N] [--threads T]
 *
 * A file holds a tensor's elements and nothing else, little-endian, in the order of the model. The network is run
 * once, then N times with the clock on. Exit status: 0, 1 if the network failed, 2 for a mistake in what was given.
 */
#define _POSIX_C_SOURCE 200112L

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dwfuse_network.h"

enum { FILES = ${upper}_INPUTS + ${upper}_OUTPUTS, MOST_RUNS = 1000000 };

typedef struct {
  const char *files[FILES + 1];
  long runs, threads;
} options_t;

/* Called with 1 right before each timed run, and with 0 right after it: a function of that name in another file takes
 * its place, say for a profiler. */
__attribute__((weak, noinline)) void dwfuse_marker(int begins) { __asm__ volatile("" : : "r"(begins) : "memory"); }

static void describe(FILE *file, const dwfuse_tensor *tensor) {
  int i;
  fprintf(file, "%s %s[", tensor->name, tensor->dtype);
  for (i = 0; i < tensor->rank; i++) fprintf(file, "%s%ld", i ? ", " : "", (long)tensor->shape[i]);
  fprintf(file, "], %lu bytes", (unsigned long)tensor->bytes);
}

static void list(FILE *file, const char *what, const dwfuse_tensor *tensors, int count) {
  int i;
  for (i = 0; i < count; i++) {
    fprintf(file, "  %-8s", what);
    describe(file, &tensors[i]);
    fputc('\n', file);
  }
}

static int usage(FILE *file, const char *program) {
  fprintf(file, "usage: %s INPUT.bin... OUTPUT.bin... [--runs N] [--threads T]\n", program);
  list(file, "input", ${prefix}_inputs, ${upper}_INPUTS);
  list(file, "output", ${prefix}_outputs, ${upper}_OUTPUTS);
  return file == stdout ? 0 : 2;
}

static int parse_number(const char *option, const char *text, long least, long most, long *number) {
  char *end;
  if (text) {
    errno = 0;
    *number = strtol(text, &end, 10);
    if (!errno && end != text && !*end && *number >= least && *number <= most) return 0;
  }
  fprintf(stderr, "%s %s: expected a number from %ld to %ld\n", option, text ? text : "", least, most);
  return 2;
}

static int parse(int count, char **arguments, options_t *options) {
  int i, files = 0;
  for (i = 1; i < count; i++) {
    const char *text = arguments[i];
    if (!strcmp(text, "--runs")) {
      if (parse_number(text, arguments[++i], 1, MOST_RUNS, &options->runs)) return 2;
    } else if (!strcmp(text, "--threads")) {
      if (parse_number(text, arguments[++i], 1, 1024, &options->threads)) return 2;
    } else if (!strncmp(text, "--", 2)) {
      fprintf(stderr, "%s: no such option\n", text);
      return usage(stderr, arguments[0]);
    } else if (files < FILES) {
      options->files[files++] = text;
    } else {
      fprintf(stderr, "%s: one file too many\n", text);
      return usage(stderr, arguments[0]);
    }
  }
  if (files == FILES) return 0;
  fprintf(stderr, "%d files given, %d expected\n", files, FILES);
  return usage(stderr, arguments[0]);
}

static void *allocate(size_t bytes) {
  void *memory = NULL;
  if (posix_memalign(&memory, 64, bytes ? bytes : 1) == 0) return memory;
  fprintf(stderr, "no memory for %lu bytes\n", (unsigned long)bytes);
  exit(1);
}

static int read_tensor(const char *path, const dwfuse_tensor *tensor, void *data) {
  FILE *file = fopen(path, "rb");
  const char *wrong = NULL;
  if (!file) {
    fprintf(stderr, "%s: cannot be read (%s)\n", path, strerror(errno));
    return 2;
  }
  if (fread(data, 1, tensor->bytes, file) != tensor->bytes) {
    wrong = ferror(file) ? "cannot be read" : "is too short";
  } else if (fgetc(file) != EOF) {
    wrong = "is too long";
  }
  fclose(file);
  if (!wrong) return 0;
  fprintf(stderr, "%s: %s for input ", path, wrong);
  describe(stderr, tensor);
  fputc('\n', stderr);
  return 2;
}

/* Written beside its place and renamed, so that a failure leaves no half of it. */
static int write_tensor(const char *path, const dwfuse_tensor *tensor, const void *data) {
  char *part = allocate(strlen(path) + sizeof ".part");
  FILE *file = fopen(strcat(strcpy(part, path), ".part"), "wb");
  int written = 0;
  if (file) {
    written = fwrite(data, 1, tensor->bytes, file) == tensor->bytes;
    written &= fclose(file) == 0;
    written = written && rename(part, path) == 0;
  }
  if (!written) {
    fprintf(stderr, "%s: cannot be written (%s)\n", path, strerror(errno));
    if (file) remove(part);
  }
  free(part);
  return written ? 0 : 2;
}

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int run(long runs, const void *const *inputs, void *const *outputs) {
  void *workspace = allocate(${prefix}_workspace_bytes());
  double *times = allocate((size_t)runs * sizeof *times);
  long i;
  int status = ${prefix}_run(inputs, outputs, workspace);
  for (i = 0; i < runs && status == DWFUSE_OK; i++) {
    double start = milliseconds();
    dwfuse_marker(1);
    status = ${prefix}_run(inputs, outputs, workspace);
    dwfuse_marker(0);
    times[i] = milliseconds() - start;
  }
  if (status == DWFUSE_OK) {
    qsort(times, (size_t)runs, sizeof *times, compare);
    printf("runs %ld, median %.3f ms, fastest %.3f ms, slowest %.3f ms\n", runs, times[runs / 2], times[0],
           times[runs - 1]);
  } else {
    fprintf(stderr, "${prefix}_run: status %d\n", status);
  }
  free(times);
  free(workspace);
  return status == DWFUSE_OK ? 0 : 1;
}

int main(int count, char **arguments) {
  options_t options = {{NULL}, 1, 1};
  void *tensors[FILES + 1] = {NULL};
  const void *inputs[${inputs_or_one}] = {NULL};
  int i, status;
  if (count == 2 && !strcmp(arguments[1], "--help")) return usage(stdout, arguments[0]);
  if ((status = parse(count, arguments, &options)) != 0) return status;
  for (i = 0; i < FILES; i++) {
    int is_input = i < ${upper}_INPUTS;
    tensors[i] = allocate(is_input ? ${prefix}_inputs[i].bytes : ${prefix}_outputs[i - ${upper}_INPUTS].bytes);
    if (!is_input) continue;
    inputs[i] = tensors[i];
    if ((status = read_tensor(options.files[i], &${prefix}_inputs[i], tensors[i])) != 0) return status;
  }
  if ((status = ${prefix}_open((int)options.threads)) != DWFUSE_OK) {
    fprintf(stderr, "${prefix}_open: status %d\n", status);
    return 1;
  }
  status = run(options.runs, inputs, tensors + ${upper}_INPUTS);
  ${prefix}_close();
  for (i = 0; i < ${upper}_OUTPUTS && status == 0; i++) {
    status = write_tensor(options.files[${upper}_INPUTS + i], &${prefix}_outputs[i], tensors[${upper}_INPUTS + i]);
  }
  for (i = 0; i < FILES; i++) free(tensors[i]);
  return status;
}
