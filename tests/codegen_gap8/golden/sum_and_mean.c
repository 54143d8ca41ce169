#include "dwfuse_kernels.h"
#include "dwfuse_runtime.h"
#include "dwfuse_scalar.h"

#define SUM_AND_MEAN_L1_BYTES 396

void sum_and_mean(int core, uint8_t *l1, const uint8_t *a, const uint8_t *b, uint8_t *y) {
  uint8_t *const l1_a = l1;
  uint8_t *const l1_b = l1 + 128;
  uint8_t *const l1_y = l1 + 256;
  if (core == 0) {
    dwfuse_dma_in(0, 0, l1_a, a + 2, 16, 8, 8);
    dwfuse_dma_in(1, 0, l1_b, b + 2, 16, 8, 12);
    for (int slot = 0; slot < 2; slot++) {
      dwfuse_dma_wait(slot);
    }
  }
  dwfuse_barrier();
  dwfuse_add(l1_a + core * 16, l1_b + core * 16, 16, 3, -1, -20, 1, l1_y + core * 16);
  dwfuse_barrier();
  for (int channel = 0; channel < 8; channel++) {
    if (channel % 8 == core) {
      dwfuse_average_pool(l1_y + channel, 8, 1, 16, 1, 16, 128, 8, l1_y + (128 + channel));
    }
  }
  dwfuse_barrier();
  if (core == 0) {
    dwfuse_dma_out(0, 0, l1_y, y, 17, 8, 10);
    dwfuse_dma_wait(0);
  }
  dwfuse_barrier();
}
