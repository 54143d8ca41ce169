/* pool: unfused */
void pool(int core, uint8_t *l1, const uint8_t *x, uint8_t *y, int begin, int end) {
  uint8_t *const l1_x = l1;
  uint8_t *const l1_y = l1 + 3140;
  const int steps = (end + 31 - begin) / 32;
  for (int step = 0; step < steps; step++) {
    const int first = step * 32 + begin;
    const int count = dwfuse_min(32, end - first);
    if (core == 0) {
      if (step == 0) {
        const int first_1 = step * 32 + begin;
        const int count_1 = dwfuse_min(32, end - first_1);
        dwfuse_dma_in(step % 2, 0, l1_x + step % 2 * 1568, x + first_1, 49, count_1, 64);
      }
      dwfuse_dma_wait(step % 2);
      dwfuse_dma_wait(6 + step % 2);
      if (step + 1 < steps) {
        const int first_1 = step * 32 + begin + 32;
        const int count_1 = dwfuse_min(32, end - first_1);
        dwfuse_dma_in((step + 1) % 2, 0, l1_x + (step + 1) % 2 * 1568, x + first_1, 49, count_1, 64);
      }
    }
    dwfuse_barrier();
    {
      const int channel_share = (count + 31) / 32 * 4;
      const int channel_begin = dwfuse_min(core * channel_share, count);
      const int channel_count = dwfuse_min(channel_share, count - channel_begin);
      if (channel_count > 0) {
        dwfuse_average_pool(l1_x + (step % 2 * 1568 + channel_begin), count, 1, 49, channel_count, 1428,
                            32768, 16, l1_y + (step % 2 * 32 + channel_begin));
      }
    }
    dwfuse_barrier();
    if (core == 0) {
      dwfuse_dma_out(6 + step % 2, 0, l1_y + step % 2 * 32, y + first, 1, count, 0);
    }
    dwfuse_barrier();
  }
  if (core == 0) {
    dwfuse_dma_wait(6);
    dwfuse_dma_wait(7);
  }
  dwfuse_barrier();
}
