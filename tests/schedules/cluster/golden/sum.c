/* add: unfused */
void sum(int core, uint8_t *l1, const uint8_t *a, const uint8_t *b, uint8_t *y, int begin, int end) {
  uint8_t *const l1_a = l1;
  uint8_t *const l1_b = l1 + 516;
  uint8_t *const l1_y = l1 + 1032;
  const int steps = (end + 255 - begin) / 256;
  for (int step = 0; step < steps; step++) {
    const int first = step * 256;
    const int count = dwfuse_min(256, end - begin - first);
    if (core == 0) {
      if (step == 0) {
        const int first_1 = step * 256;
        const int count_1 = dwfuse_min(256, end - begin - first_1);
        dwfuse_dma_in(step % 2, 0, l1_a + step % 2 * 256, a + first_1, 1, count_1, 0);
        dwfuse_dma_in(step % 2, 0, l1_b + step % 2 * 256, b + first_1, 1, count_1, 0);
      }
      dwfuse_dma_wait(step % 2);
      dwfuse_dma_wait(6 + step % 2);
      if (step + 1 < steps) {
        const int first_1 = step * 256 + 256;
        const int count_1 = dwfuse_min(256, end - begin - first_1);
        dwfuse_dma_in((step + 1) % 2, 0, l1_a + (step + 1) % 2 * 256, a + first_1, 1, count_1, 0);
        dwfuse_dma_in((step + 1) % 2, 0, l1_b + (step + 1) % 2 * 256, b + first_1, 1, count_1, 0);
      }
    }
    dwfuse_barrier();
    {
      const int element_share = (count + 31) / 32 * 4;
      const int element_begin = dwfuse_min(core * element_share, count);
      const int element_count = dwfuse_min(element_share, count - element_begin);
      if (element_count > 0) {
        dwfuse_add(l1_a + (step % 2 * 256 + element_begin), l1_b + (step % 2 * 256 + element_begin),
                   element_count, 3000, 5000, -60000, 13, l1_y + (step % 2 * 256 + element_begin));
      }
    }
    dwfuse_barrier();
    if (core == 0) {
      dwfuse_dma_out(6 + step % 2, 0, l1_y + step % 2 * 256, y + first, 1, count, 0);
    }
    dwfuse_barrier();
  }
  if (core == 0) {
    dwfuse_dma_wait(6);
    dwfuse_dma_wait(7);
  }
  dwfuse_barrier();
}
