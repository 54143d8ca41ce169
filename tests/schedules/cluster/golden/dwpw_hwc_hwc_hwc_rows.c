/* conv0, conv1: test */
void group(int core, uint8_t *l1, const uint8_t *x, const int8_t *w0, const int32_t *q0,
           const int8_t *w1, const int32_t *q1, uint8_t *y, int row_begin, int row_end, int x_row0,
           int y_row0, int block_begin, int block_end) {
  (void)block_begin;
  (void)block_end;
  uint8_t *const l1_x = l1;
  uint8_t *const l1_m1 = l1 + 1348;
  uint8_t *const l1_y = l1 + 1800;
  int8_t *const l1_w0 = (int8_t *)(l1 + 3144);
  int32_t *const l1_q0 = (int32_t *)(l1 + 3336);
  int8_t *const l1_w = (int8_t *)(l1 + 3464);
  int32_t *const l1_q = (int32_t *)(l1 + 3720);
  uint8_t *const l1_scratch = l1 + 3848;
  const int first_end = dwfuse_min(row_begin + 2, row_end);
  const int first_end0 = dwfuse_min(14, first_end + 1);
  const int steps = (row_end + 1 - row_begin) / 2;
  for (int step = 0; step < steps; step++) {
    const int begin = step * 2 + row_begin;
    const int end = dwfuse_min(begin + 2, row_end);
    const int rows0 = end - begin;
    if (core == 0) {
      if (step == 0) {
        dwfuse_dma_in(2, 1, l1_w0, w0, 1, 192, 0);
        dwfuse_dma_in(2, 1, l1_q0, q0, 1, 128, 0);
      }
      if (step == 0) {
        const int fetch_row = dwfuse_max(0, row_begin - 1);
        const int fetch_rows = dwfuse_max(0, dwfuse_min(14, end + 1) - fetch_row);
        if (fetch_rows > 0) {
          dwfuse_dma_in(step % 2, 0, l1_x + dwfuse_floormod(fetch_row - first_end0, 6) * 224,
                        x + (fetch_row * 224 - x_row0 * 224), 1, fetch_rows * 224, 0);
        }
      }
      if (step == 0) {
        dwfuse_dma_in(4, 1, l1_w, w1, 1, 128, 0);
        dwfuse_dma_in(4, 1, l1_q, q1, 1, 64, 0);
      }
      if (step == 0) {
        dwfuse_dma_wait(2);
      }
      dwfuse_dma_wait(step % 2);
      dwfuse_dma_wait(6 + step % 2);
      if (step + 1 < steps) {
        const int next_begin = begin + 2;
        const int next_end = dwfuse_min(next_begin + 2, row_end);
        const int fetch_row = dwfuse_min(14, next_begin + 1);
        const int fetch_rows = dwfuse_max(0, dwfuse_min(14, next_end + 1) - fetch_row);
        if (fetch_rows > 0) {
          dwfuse_dma_in((step + 1) % 2, 0, l1_x + dwfuse_floormod(fetch_row - first_end0, 6) * 224,
                        x + (fetch_row * 224 - x_row0 * 224), 1, fetch_rows * 224, 0);
        }
      }
    }
    dwfuse_barrier();
    {
      const int channel_begin = core % 4 * 4;
      const int channel_count = dwfuse_min(4, 16 - channel_begin);
      const int row_share = (rows0 + 1) / 2;
      const int row_begin_1 = dwfuse_min(core / 4 * row_share, rows0);
      const int row_count = dwfuse_min(row_share, rows0 - row_begin_1);
      if (channel_count > 0 && row_count > 0) {
        const int first_row = begin + row_begin_1;
        const int top = dwfuse_max(0, first_row - 1);
        const int pad_top = dwfuse_max(0, 1 - first_row);
        const int ring_first = dwfuse_floormod(top - first_end0, 6);
        const int in_rows = dwfuse_min(14, end + 1) - top;
        dwfuse_depthwise(l1_x + channel_begin, 224, 16, 1, 6, ring_first, in_rows, 14, 3, 3, 1, 1, pad_top,
                         1, 76, row_count, 14, 2, channel_count, l1_w0 + channel_begin * 12,
                         l1_q0 + channel_begin * 2, 19,
                         l1_m1 + (dwfuse_floormod(first_row - first_end, 2) * 224 + channel_begin), 224, 16,
                         1, l1_scratch + core * 272);
      }
    }
    dwfuse_barrier();
    const int rows1 = end - begin;
    for (int tile = 0; tile < 3; tile++) {
      const int tile_turn = step * 3 + tile;
      const int tile_first = tile * 8;
      if (core == 0) {
        dwfuse_dma_wait(4 + tile_turn % 2);
        if (tile + 1 < 3) {
          const int tile_first_1 = tile * 8 + 8;
          dwfuse_dma_in(4 + (tile_turn + 1) % 2, 1, l1_w + (tile_turn + 1) % 2 * 128, w1 + tile_first_1 * 16,
                        1, 128, 0);
          dwfuse_dma_in(4 + (tile_turn + 1) % 2, 1, l1_q + (tile_turn + 1) % 2 * 16, q1 + tile_first_1 * 2, 1,
                        64, 0);
        }
        if (tile == 2) {
          if (step + 1 < steps) {
            dwfuse_dma_in(4 + (tile_turn + 1) % 2, 1, l1_w + (tile_turn + 1) % 2 * 128, w1, 1, 128, 0);
            dwfuse_dma_in(4 + (tile_turn + 1) % 2, 1, l1_q + (tile_turn + 1) % 2 * 16, q1, 1, 64, 0);
          }
        }
      }
      dwfuse_barrier();
      {
        const int pixel_share = (rows1 * 14 + 31) / 32 * 4;
        const int pixel_begin = dwfuse_min(core * pixel_share, rows1 * 14);
        const int pixel_count = dwfuse_min(pixel_share, rows1 * 14 - pixel_begin);
        if (pixel_count > 0) {
          dwfuse_pointwise(l1_m1 + (dwfuse_floormod(begin - first_end, 2) * 224 + pixel_begin * 16), 16,
                           pixel_count, l1_w + tile_turn % 2 * 128, 16, l1_q + tile_turn % 2 * 16, 8, 19,
                           l1_y + (step % 2 * 672 + pixel_begin * 24 + tile_first), 24, 1);
        }
      }
      dwfuse_barrier();
    }
    if (core == 0) {
      dwfuse_dma_out(6 + step % 2, 0, l1_y + step % 2 * 672, y + (begin * 336 - y_row0 * 336), 1,
                     end * 336 - begin * 336, 0);
    }
    dwfuse_barrier();
  }
  if (core == 0) {
    dwfuse_dma_wait(6);
    dwfuse_dma_wait(7);
  }
  dwfuse_barrier();
}
