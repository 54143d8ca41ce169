/* The same on every platform: failures, layers, golden outputs, the profile. */
#include <stdio.h>
#include <string.h>

#include "dwfuse_platform.h"

dwfuse_counters_t dwfuse_counters;
unsigned dwfuse_checked;

static const char *current_layer;

const char *dwfuse_layer(void) { return current_layer; }

void dwfuse_fail(const char *layer, const char *what) {
  if (layer)
    printf("dwfuse: layer %s: %s\n", layer, what);
  else
    printf("dwfuse: %s\n", what);
  dwfuse_exit(1);
}

void dwfuse_fail_number(const char *format, long number) {
  char what[160]; /* formats are those of the runtime, all shorter; GAP8's runtime declares no snprintf */
  sprintf(what, format, number);
  dwfuse_fail(current_layer, what);
}

#ifdef DWFUSE_PROFILE

#ifndef DWFUSE_PROFILE_LAYERS
#define DWFUSE_PROFILE_LAYERS 128
#endif

typedef struct {
  const char *layer;
  unsigned ticks;
  dwfuse_counters_t counters; /* at the layer's begin, then the difference at its end */
} row_t;

static row_t rows[DWFUSE_PROFILE_LAYERS];
static int row_count;

void dwfuse_layer_begin(const char *layer) {
  current_layer = layer;
  if (row_count == DWFUSE_PROFILE_LAYERS)
    dwfuse_fail(layer, "too many layers to profile: build with a larger -DDWFUSE_PROFILE_LAYERS");
  rows[row_count].layer = layer;
  rows[row_count].counters = dwfuse_counters;
  rows[row_count].ticks = dwfuse_cycles();
}

void dwfuse_layer_end(void) {
  row_t *row = &rows[row_count++];
  row->ticks = dwfuse_cycles() - row->ticks;
  row->counters.activation_in = dwfuse_counters.activation_in - row->counters.activation_in;
  row->counters.activation_out = dwfuse_counters.activation_out - row->counters.activation_out;
  row->counters.constant_in = dwfuse_counters.constant_in - row->counters.constant_in;
  row->counters.l3_in = dwfuse_counters.l3_in - row->counters.l3_in;
  row->counters.l3_out = dwfuse_counters.l3_out - row->counters.l3_out;
  current_layer = 0;
}

void dwfuse_profile_print(void) {
  printf("%-32s %12s %10s %10s %10s %10s %10s\n", "layer", dwfuse_ticks_unit, "act. in", "act. out", "constants",
         "L3 in", "L3 out");
  for (const row_t *row = rows; row < rows + row_count; row++)
    printf("%-32s %12u %10u %10u %10u %10u %10u\n", row->layer, row->ticks, (unsigned)row->counters.activation_in,
           (unsigned)row->counters.activation_out, (unsigned)row->counters.constant_in, (unsigned)row->counters.l3_in,
           (unsigned)row->counters.l3_out);
}

#else

void dwfuse_layer_begin(const char *layer) { current_layer = layer; }
void dwfuse_layer_end(void) { current_layer = 0; }
void dwfuse_profile_print(void) {}

#endif

#ifdef DWFUSE_CHECK

void dwfuse_check(const char *name, const uint8_t *actual, uint32_t offset, int bytes) {
  static uint8_t golden[512];
  char file[160], what[80];
  if (strlen(name) + sizeof "golden/.bin" > sizeof file) dwfuse_fail(name, "the name is too long to check");
  sprintf(file, "golden/%s.bin", name);
  for (int done = 0; done < bytes;) {
    int part = bytes - done < (int)sizeof golden ? bytes - done : (int)sizeof golden;
    int got = dwfuse_file_read(file, offset + (uint32_t)done, golden, part);
    if (got < 0 && done == 0) return;
    if (got != part) dwfuse_fail(name, "the golden file is too short");
    for (int i = 0; i < part; i++) {
      if (actual[done + i] == golden[i]) continue;
      sprintf(what, "element %lu is %d, golden is %d", (unsigned long)(offset + (uint32_t)(done + i)),
              actual[done + i], golden[i]);
      dwfuse_fail(name, what);
    }
    done += part;
  }
  dwfuse_checked++;
}

#endif
