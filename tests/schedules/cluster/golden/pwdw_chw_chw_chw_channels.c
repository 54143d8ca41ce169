/* conv0, conv1: test */
void group(int core, uint8_t *l1, const uint8_t *x, const int8_t *w0, const int32_t *q0,
           const int8_t *w1, const int32_t *q1, uint8_t *y, int row_begin, int row_end, int x_row0,
           int y_row0, int block_begin, int block_end) {
  (void)row_begin;
  (void)row_end;
  (void)x_row0;
  (void)y_row0;
  uint8_t *const l1_x = l1;
  uint8_t *const l1_m1 = l1 + 3140;
  uint8_t *const l1_y = l1 + 4712;
  int8_t *const l1_w0 = (int8_t *)(l1 + 7848);
  int32_t *const l1_q0 = (int32_t *)(l1 + 8104);
  int8_t *const l1_w1 = (int8_t *)(l1 + 8232);
  int32_t *const l1_q1 = (int32_t *)(l1 + 8424);
  uint8_t *const l1_scratch = l1 + 8552;
  for (int block = block_begin; block < block_end; block++) {
    const int turn = block - block_begin;
    if (core == 0) {
      if (block == block_begin) {
        dwfuse_dma_in(2 + (block - block_begin) % 2, 1, l1_w0 + (block - block_begin) % 2 * 128,
                      w0 + (block * 128 - block_begin * 128), 1, 128, 0);
        dwfuse_dma_in(2 + (block - block_begin) % 2, 1, l1_q0 + (block - block_begin) % 2 * 16,
                      q0 + (block * 16 - block_begin * 16), 1, 64, 0);
        dwfuse_dma_in(2 + (block - block_begin) % 2, 1, l1_w1 + (block - block_begin) % 2 * 96,
                      w1 + (block * 96 - block_begin * 96), 1, 96, 0);
        dwfuse_dma_in(2 + (block - block_begin) % 2, 1, l1_q1 + (block - block_begin) % 2 * 16,
                      q1 + (block * 16 - block_begin * 16), 1, 64, 0);
      }
      if (block == block_begin) {
        dwfuse_dma_in(0, 0, l1_x, x, 1, 3136, 0);
      }
      dwfuse_dma_wait(2 + (block - block_begin) % 2);
      dwfuse_dma_wait(0);
      dwfuse_dma_wait(6 + turn % 2);
      if (block + 1 < block_end) {
        dwfuse_dma_in(2 + (block + 1 - block_begin) % 2, 1, l1_w0 + (block + 1 - block_begin) % 2 * 128,
                      w0 + (block * 128 + 128 - block_begin * 128), 1, 128, 0);
        dwfuse_dma_in(2 + (block + 1 - block_begin) % 2, 1, l1_q0 + (block + 1 - block_begin) % 2 * 16,
                      q0 + (block * 16 + 16 - block_begin * 16), 1, 64, 0);
        dwfuse_dma_in(2 + (block + 1 - block_begin) % 2, 1, l1_w1 + (block + 1 - block_begin) % 2 * 96,
                      w1 + (block * 96 + 96 - block_begin * 96), 1, 96, 0);
        dwfuse_dma_in(2 + (block + 1 - block_begin) % 2, 1, l1_q1 + (block + 1 - block_begin) % 2 * 16,
                      q1 + (block * 16 + 16 - block_begin * 16), 1, 64, 0);
      }
    }
    dwfuse_barrier();
    {
      const int pixel_begin = dwfuse_min(core, 7) * 28;
      const int pixel_count = dwfuse_min(28, 196 - pixel_begin);
      if (pixel_count > 0) {
        dwfuse_conv(l1_x, 14, 1, 196, 14, 0, 14, 14, 16, 1, 1, 1, 1, 0, 0, 21, 14, pixel_begin,
                    pixel_begin + pixel_count, l1_w0 + (block - block_begin) % 2 * 128, 16,
                    l1_q0 + (block - block_begin) % 2 * 16, 8, 19, l1_m1, 1, 196, l1_scratch + core * 64);
      }
    }
    dwfuse_barrier();
    {
      const int channel_begin = core % 8;
      const int channel_count = dwfuse_min(1, 8 - channel_begin);
      if (channel_count > 0) {
        dwfuse_depthwise(l1_m1 + channel_begin * 196, 14, 1, 196, 14, 0, 14, 14, 3, 3, 1, 1, 1, 1, 188, 14,
                         14, 14, channel_count,
                         l1_w1 + ((block - block_begin) % 2 * 96 + channel_begin * 12),
                         l1_q1 + ((block - block_begin) % 2 * 16 + channel_begin * 2), 19,
                         l1_y + (turn % 2 * 1568 + channel_begin * 196), 14, 1, 196,
                         l1_scratch + core * 64);
      }
    }
    dwfuse_barrier();
    if (core == 0) {
      dwfuse_dma_out(6 + turn % 2, 0, l1_y + turn % 2 * 1568, y + block * 1568, 1, 1568, 0);
    }
    dwfuse_barrier();
  }
  if (core == 0) {
    dwfuse_dma_wait(6);
    dwfuse_dma_wait(7);
  }
  dwfuse_barrier();
}
