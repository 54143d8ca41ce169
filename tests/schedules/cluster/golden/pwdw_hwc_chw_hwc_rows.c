/* conv0, conv1: test */
void group(int core, uint8_t *l1, const uint8_t *x, const int8_t *w0, const int32_t *q0,
           const int8_t *w1, const int32_t *q1, uint8_t *y, int row_begin, int row_end, int x_row0,
           int y_row0, int block_begin, int block_end) {
  (void)block_begin;
  (void)block_end;
  uint8_t *const l1_x = l1;
  uint8_t *const l1_m1 = l1 + 900;
  uint8_t *const l1_y = l1 + 2248;
  int8_t *const l1_w0 = (int8_t *)(l1 + 2584);
  int32_t *const l1_q0 = (int32_t *)(l1 + 2968);
  int8_t *const l1_w1 = (int8_t *)(l1 + 3160);
  int32_t *const l1_q1 = (int32_t *)(l1 + 3448);
  const int first_end = dwfuse_min(row_begin + 1, row_end);
  const int first_end0 = dwfuse_min(14, first_end * 2);
  const int first_end1 = dwfuse_min(14, first_end * 2);
  const int steps = row_end - row_begin;
  const int first_chunks = dwfuse_floordiv(first_end0 + 1 - dwfuse_max(0, row_begin * 2 - 1), 2);
  for (int step = 0; step < steps; step++) {
    const int begin = row_begin + step;
    const int end = dwfuse_min(begin + 1, row_end);
    if (core == 0) {
      if (step == 0) {
        dwfuse_dma_in(2, 1, l1_w0, w0, 1, 384, 0);
        dwfuse_dma_in(2, 1, l1_q0, q0, 1, 192, 0);
        dwfuse_dma_in(2, 1, l1_w1, w1, 1, 288, 0);
        dwfuse_dma_in(2, 1, l1_q1, q1, 1, 192, 0);
      }
      if (step == 0) {
        const int fetch_row = dwfuse_max(dwfuse_max(0, row_begin * 2 - 1), first_end0 - first_chunks * 2);
        const int fetch_rows = dwfuse_min(first_end0 + 2 - first_chunks * 2, dwfuse_min(14, row_end * 2)) - fetch_row;
        if (fetch_rows > 0) {
          dwfuse_dma_in(0, 0, l1_x, x + (fetch_row * 224 - x_row0 * 224), 1, fetch_rows * 224, 0);
        }
      }
      if (step == 0) {
        dwfuse_dma_wait(2);
      }
      dwfuse_dma_wait(6 + step % 2);
    }
    dwfuse_barrier();
    for (int chunk = step == 0 ? 0 : first_chunks + step - 1; chunk < first_chunks + step; chunk++) {
      const int row0 = dwfuse_max(dwfuse_max(0, row_begin * 2 - 1), chunk * 2 + first_end0 - first_chunks * 2);
      const int rows0 = dwfuse_min(chunk * 2 + first_end0 + 2 - first_chunks * 2, dwfuse_min(14, row_end * 2)) - row0;
      if (core == 0) {
        dwfuse_dma_wait(dwfuse_floormod(chunk, 2));
        if (chunk + 1 < first_chunks + steps - 1) {
          const int fetch_row = dwfuse_max(dwfuse_max(0, row_begin * 2 - 1), chunk * 2 + first_end0 + 2 - first_chunks * 2);
          const int fetch_rows = dwfuse_min(chunk * 2 + first_end0 + 4 - first_chunks * 2, dwfuse_min(14, row_end * 2)) - fetch_row;
          if (fetch_rows > 0) {
            dwfuse_dma_in((chunk + 1) % 2, 0, l1_x + (chunk + 1) % 2 * 448,
                          x + (fetch_row * 224 - x_row0 * 224), 1, fetch_rows * 224, 0);
          }
        }
      }
      dwfuse_barrier();
      {
        const int pixel_share = dwfuse_floordiv(rows0 * 14 + 31, 32) * 4;
        const int pixel_begin = dwfuse_min(core * pixel_share, rows0 * 14);
        const int pixel_count = dwfuse_min(pixel_share, rows0 * 14 - pixel_begin);
        if (pixel_count > 0) {
          dwfuse_pointwise(l1_x + (chunk % 2 * 448 + pixel_begin * 16), 16, pixel_count, l1_w0, 16, l1_q0, 24,
                           19, l1_m1 + (dwfuse_floormod(row0 - first_end1, 4) * 14 + pixel_begin), 1, 56);
        }
      }
      dwfuse_barrier();
    }
    const int rows1 = end - begin;
    {
      const int channel_begin = core % 8 * 3;
      const int channel_count = dwfuse_min(3, 24 - channel_begin);
      if (channel_count > 0 && rows1 > 0) {
        const int top = dwfuse_max(0, begin * 2 - 1);
        const int pad_top = dwfuse_max(0, 1 - begin * 2);
        const int ring_first = dwfuse_floormod(top - first_end1, 4);
        const int in_rows = dwfuse_min(14, end * 2) - top;
        dwfuse_depthwise(l1_m1 + channel_begin * 56, 14, 1, 56, 4, ring_first, in_rows, 14, 3, 3, 2, 2,
                         pad_top, 1, 188, rows1, 7, 1, channel_count, l1_w1 + channel_begin * 12,
                         l1_q1 + channel_begin * 2, 19, l1_y + (step % 2 * 168 + channel_begin), 168, 24, 1,
                         l1_x);
      }
    }
    dwfuse_barrier();
    if (core == 0) {
      dwfuse_dma_out(6 + step % 2, 0, l1_y + step % 2 * 168, y + (begin * 168 - y_row0 * 168), 1,
                     end * 168 - begin * 168, 0);
    }
    dwfuse_barrier();
  }
  if (core == 0) {
    dwfuse_dma_wait(6);
    dwfuse_dma_wait(7);
  }
  dwfuse_barrier();
}
