/* What a generated network does, in small: constants come from L3 behind a layer, an activation is spilled there.
   first:  keeps every second row of the input (64 x 32), each element plus 1: 32 x 32.
   second: adds to element i the constant 19 i mod 40000. */
#include <string.h>

#include "dwfuse_runtime.h"

#define HALF 1024
#define CONSTANTS 40000

const dwfuse_network_t dwfuse_network = {
    .name = "toy",
    .cores = 8,
    .l1_bytes = CONSTANTS + 2 * HALF,
    .l2_bytes = 4 * HALF + CONSTANTS,
    .input_bytes = 2 * HALF,
    .input_offset = 0,
    .output_bytes = HALF,
    .output_offset = 2 * HALF,
    .weights_bytes = CONSTANTS,
    .l3_bytes = CONSTANTS + HALF,
};

typedef struct {
  const uint8_t *x, *constants;
  uint8_t *y;
} args_t;

static void first(int core, void *data) {
  const args_t *args = data;
  uint8_t *x = dwfuse_l1(), *y = x + HALF;
  if (core == 0) {
    dwfuse_dma_in(0, DWFUSE_ACTIVATION, x, args->x, 16, 32, 64);
    dwfuse_dma_in(1, DWFUSE_ACTIVATION, x + HALF / 2, args->x + HALF, 8, 32, 64);
    dwfuse_dma_in(1, DWFUSE_ACTIVATION, x + 3 * HALF / 4, args->x + 3 * HALF / 2, 8, 32, 64);
    dwfuse_dma_wait(0);
    dwfuse_dma_wait(1);
  }
  dwfuse_barrier();
  for (int i = core; i < HALF; i += 8) y[i] = (uint8_t)(x[i] + 1);
  dwfuse_barrier();
  if (core == 0) {
    dwfuse_dma_out(2, DWFUSE_ACTIVATION, y, args->y, 32, 32, 32);
    dwfuse_dma_wait(2);
  }
}

static void second(int core, void *data) {
  const args_t *args = data;
  uint8_t *constants = dwfuse_l1(), *x = constants + CONSTANTS, *y = x + HALF;
  if (core == 0) {
    dwfuse_dma_in(0, DWFUSE_CONSTANT, constants, args->constants, 1, CONSTANTS, CONSTANTS);
    dwfuse_dma_in(1, DWFUSE_ACTIVATION, x, args->x, 1, HALF, HALF);
    dwfuse_dma_wait(0);
    dwfuse_dma_wait(1);
  }
  dwfuse_barrier();
  for (int i = core * 128; i < core * 128 + 128; i++) y[i] = (uint8_t)(x[i] + constants[19 * i % CONSTANTS]);
  dwfuse_barrier();
  if (core == 0) {
    dwfuse_dma_out(3, DWFUSE_ACTIVATION, y, args->y, 1, HALF, HALF);
    dwfuse_dma_wait(3);
  }
}

int dwfuse_network_run(const uint8_t *input, uint8_t *output) {
  uint8_t *middle = dwfuse_l2() + 3 * HALF, *constants = middle + HALF;

  dwfuse_layer_begin("first");
  dwfuse_l3_read(0, constants, 0, CONSTANTS);
  dwfuse_cluster_run(first, &(args_t){.x = input, .y = middle});
  dwfuse_l3_write(1, middle, CONSTANTS, HALF);
  dwfuse_l3_wait(1);
  dwfuse_l3_wait(0);
  dwfuse_layer_end();
  dwfuse_check("first", middle, 0, HALF);

  dwfuse_layer_begin("second");
  memset(middle, 0, HALF);
  dwfuse_l3_read(0, middle, CONSTANTS, HALF);
  dwfuse_l3_wait(0);
  dwfuse_cluster_run(second, &(args_t){.x = middle, .constants = constants, .y = output});
  dwfuse_layer_end();
  dwfuse_check("second", output, 0, HALF / 2);
  dwfuse_check("second", output + HALF / 2, HALF / 2, HALF / 2);
  return 0;
}
