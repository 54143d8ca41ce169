#include "dwfuse_kernels.h"
#include "dwfuse_runtime.h"
#include "dwfuse_scalar.h"

#define STEM_AND_DEPTHWISE_L1_BYTES 4868

void stem_and_depthwise(int core, uint8_t *l1, const uint8_t *x, const int8_t *w0,
                        const int32_t *q0, const int8_t *w1, const int32_t *q1, uint8_t *y) {
  uint8_t *const l1_x = l1;
  uint8_t *const l1_m1 = l1 + 192;
  uint8_t *const l1_y = l1 + 312;
  uint8_t *const l1_scratch = l1 + 432;
  int8_t *const l1_w0 = (int8_t *)(l1 + 4528);
  int32_t *const l1_q0 = (int32_t *)(l1 + 4696);
  int8_t *const l1_w1 = (int8_t *)(l1 + 4744);
  int32_t *const l1_q1 = (int32_t *)(l1 + 4816);
  if (core == 0) {
    dwfuse_dma_in(1, 1, l1_w0, w0, 1, 168, 0);
    dwfuse_dma_in(1, 1, l1_q0, q0, 1, 48, 0);
    dwfuse_dma_in(1, 1, l1_w1, w1, 1, 72, 0);
    dwfuse_dma_in(1, 1, l1_q1, q1, 1, 48, 0);
    dwfuse_dma_in(0, 0, l1_x, x, 1, 189, 0);
    dwfuse_dma_wait(0);
    dwfuse_dma_wait(1);
  }
  dwfuse_barrier();
  dwfuse_conv(l1_x, 21, 3, 1, 9, 0, 9, 7, 3, 3, 3, 2, 2, 1, 1, 11, 4, core * 20 / 8,
              (core + 1) * 20 / 8, l1_w0, 28, l1_q0, 6, 9, l1_m1, 1, 20, l1_scratch + core * 512);
  dwfuse_barrier();
  for (int channel = 0; channel < 6; channel++) {
    if (channel % 8 == core) {
      dwfuse_depthwise(l1_m1 + channel * 20, 4, 1, 20, 5, 0, 5, 4, 3, 3, 1, 1, 1, 1, 11, 5, 4, 5, 1,
                       l1_w1 + channel * 12, l1_q1 + channel * 2, 7, l1_y + channel, 24, 6, 1,
                       l1_scratch + core * 512);
    }
  }
  dwfuse_barrier();
  if (core == 0) {
    dwfuse_dma_out(6, 0, l1_y, y, 1, 120, 0);
    dwfuse_dma_wait(6);
  }
  dwfuse_barrier();
}
