#include "dwfuse_kernels.h"
#include "dwfuse_runtime.h"
#include "dwfuse_scalar.h"

#define POINTWISE_ROWS_L1_BYTES 396

/* conv1: pointwise, two rows a step */
void pointwise_rows(int core, uint8_t *l1, const uint8_t *x, const int8_t *w0, const int32_t *q0,
                    uint8_t *y, int row_begin, int row_end) {
  uint8_t *const l1_x = l1;
  uint8_t *const l1_y = l1 + 192;
  int8_t *const l1_w0 = (int8_t *)(l1 + 312);
  int32_t *const l1_q0 = (int32_t *)(l1 + 352);
  const int steps = (row_end - row_begin + 1) / 2;
  const int rows = dwfuse_min(row_end - row_begin, 2);
  if (core == 0) {
    dwfuse_dma_in(2, 1, l1_w0, w0, 1, 40, 0);
    dwfuse_dma_in(2, 1, l1_q0, q0, 1, 40, 0);
    dwfuse_dma_in(0, 0, l1_x, x + row_begin * 48, 1, rows * 48, 0);
    dwfuse_dma_wait(2);
  }
  dwfuse_barrier();
  for (int step = 0; step < steps; step++) {
    const int begin = row_begin + step * 2;
    const int pixels = dwfuse_min(row_end - begin, 2) * 6;
    if (core == 0) {
      dwfuse_dma_wait(step % 2);
      if (step + 1 < steps) {
        const int rows_1 = dwfuse_min(row_end - begin - 2, 2);
        dwfuse_dma_in((step + 1) % 2, 0, l1_x + (step + 1) % 2 * 96, x + (begin + 2) * 48, 1, rows_1 * 48,
                      0);
      }
      dwfuse_dma_wait(6 + step % 2);
    }
    dwfuse_barrier();
    {
      const int share = (pixels + 8 - 1) / 8;
      const int first = dwfuse_min(core * share, pixels);
      dwfuse_pointwise(l1_x + (step % 2 * 96 + first * 8), 8, dwfuse_min(share, pixels - first), l1_w0, 8,
                       l1_q0, 5, 7, l1_y + (step % 2 * 60 + first * 5), 5, 1);
    }
    dwfuse_barrier();
    if (core == 0) {
      dwfuse_dma_out(6 + step % 2, 0, l1_y + step % 2 * 60, y + begin * 30, 1, pixels * 5, 0);
    }
    dwfuse_barrier();
  }
  if (core == 0) {
    dwfuse_dma_wait(6);
    dwfuse_dma_wait(7);
  }
  dwfuse_barrier();
}
