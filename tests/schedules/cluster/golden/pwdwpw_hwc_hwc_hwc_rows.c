/* conv0, conv1, conv2: test */
void group(int core, uint8_t *l1, const uint8_t *x, const int8_t *w0, const int32_t *q0,
           const int8_t *w1, const int32_t *q1, const int8_t *w2, const int32_t *q2, uint8_t *y,
           int row_begin, int row_end, int x_row0, int y_row0, int block_begin, int block_end) {
  (void)block_begin;
  (void)block_end;
  uint8_t *const l1_x = l1;
  uint8_t *const l1_m1 = l1 + 452;
  uint8_t *const l1_m2 = l1 + 1800;
  uint8_t *const l1_y = l1 + 2476;
  int8_t *const l1_w1 = (int8_t *)(l1 + 2924);
  int32_t *const l1_q1 = (int32_t *)(l1 + 3212);
  int8_t *const l1_w = (int8_t *)(l1 + 3404);
  int32_t *const l1_q = (int32_t *)(l1 + 3596);
  uint8_t *const l1_scratch = l1 + 3724;
  const int first_end = dwfuse_min(row_begin + 2, row_end);
  const int first_end0 = dwfuse_min(14, first_end + 1);
  const int first_end1 = dwfuse_min(14, first_end + 1);
  const int steps = (row_end + 1 - row_begin) / 2;
  const int first_chunks = dwfuse_floordiv(first_end0 + 1 - dwfuse_max(0, row_begin - 1), 2);
  for (int step = 0; step < steps; step++) {
    const int begin = step * 2 + row_begin;
    const int end = dwfuse_min(begin + 2, row_end);
    if (core == 0) {
      if (step == 0) {
        dwfuse_dma_in(2, 1, l1_w1, w1, 1, 288, 0);
        dwfuse_dma_in(2, 1, l1_q1, q1, 1, 192, 0);
      }
      if (step == 0) {
        const int fetch_row = dwfuse_max(dwfuse_max(0, row_begin - 1), first_end0 - first_chunks * 2);
        const int fetch_rows = dwfuse_min(first_end0 + 2 - first_chunks * 2, dwfuse_min(14, row_end + 1)) - fetch_row;
        if (fetch_rows > 0) {
          dwfuse_dma_in(0, 0, l1_x, x + (fetch_row * 112 - x_row0 * 112), 1, fetch_rows * 112, 0);
        }
      }
      if (step == 0) {
        dwfuse_dma_in(4, 1, l1_w, w0, 1, 64, 0);
        dwfuse_dma_in(4, 1, l1_q, q0, 1, 64, 0);
      }
      if (step == 0) {
        dwfuse_dma_wait(2);
      }
      dwfuse_dma_wait(6 + step % 2);
    }
    dwfuse_barrier();
    for (int chunk = step == 0 ? 0 : first_chunks + step - 1; chunk < first_chunks + step; chunk++) {
      const int row0 = dwfuse_max(dwfuse_max(0, row_begin - 1), chunk * 2 + first_end0 - first_chunks * 2);
      const int rows0 = dwfuse_min(chunk * 2 + first_end0 + 2 - first_chunks * 2, dwfuse_min(14, row_end + 1)) - row0;
      if (core == 0) {
        dwfuse_dma_wait(dwfuse_floormod(chunk, 2));
        if (chunk + 1 < first_chunks + steps - 1) {
          const int fetch_row = dwfuse_max(dwfuse_max(0, row_begin - 1), chunk * 2 + first_end0 + 2 - first_chunks * 2);
          const int fetch_rows = dwfuse_min(chunk * 2 + first_end0 + 4 - first_chunks * 2, dwfuse_min(14, row_end + 1)) - fetch_row;
          if (fetch_rows > 0) {
            dwfuse_dma_in((chunk + 1) % 2, 0, l1_x + (chunk + 1) % 2 * 224,
                          x + (fetch_row * 112 - x_row0 * 112), 1, fetch_rows * 112, 0);
          }
        }
      }
      dwfuse_barrier();
      for (int tile = 0; tile < 3; tile++) {
        const int tile_turn = chunk * 3 + step * 2 + tile;
        const int tile_first = tile * 8;
        if (core == 0) {
          dwfuse_dma_wait(4 + dwfuse_floormod(tile_turn, 2));
          if (tile + 1 < 3) {
            const int tile_first_1 = tile * 8 + 8;
            dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                          l1_w + dwfuse_floormod(tile_turn + 1, 2) * 96, w0 + tile_first_1 * 8, 1, 64, 0);
            dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                          l1_q + dwfuse_floormod(tile_turn + 1, 2) * 16, q0 + tile_first_1 * 2, 1, 64, 0);
          }
          if (tile == 2) {
            if (chunk + 1 - first_chunks - step < 0) {
              dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                            l1_w + dwfuse_floormod(tile_turn + 1, 2) * 96, w0, 1, 64, 0);
              dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                            l1_q + dwfuse_floormod(tile_turn + 1, 2) * 16, q0, 1, 64, 0);
            }
            if (chunk == first_chunks + step - 1) {
              dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                            l1_w + dwfuse_floormod(tile_turn + 1, 2) * 96, w2, 1, 96, 0);
              dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                            l1_q + dwfuse_floormod(tile_turn + 1, 2) * 16, q2, 1, 32, 0);
            }
          }
        }
        dwfuse_barrier();
        {
          const int pixel_share = dwfuse_floordiv(rows0 * 14 + 31, 32) * 4;
          const int pixel_begin = dwfuse_min(core * pixel_share, rows0 * 14);
          const int pixel_count = dwfuse_min(pixel_share, rows0 * 14 - pixel_begin);
          if (pixel_count > 0) {
            dwfuse_pointwise(l1_x + (chunk % 2 * 224 + pixel_begin * 8), 8, pixel_count,
                             l1_w + tile_turn % 2 * 96, 8, l1_q + tile_turn % 2 * 16, 8, 19,
                             l1_m1 + (dwfuse_floormod(row0 - first_end1, 4) * 336 + pixel_begin * 24 + tile_first),
                             24, 1);
          }
        }
        dwfuse_barrier();
      }
    }
    const int rows1 = end - begin;
    {
      const int channel_begin = dwfuse_min(core % 8, 6) * 4;
      const int channel_count = dwfuse_min(4, 24 - channel_begin);
      if (channel_count > 0 && rows1 > 0) {
        const int top = dwfuse_max(0, begin - 1);
        const int pad_top = dwfuse_max(0, 1 - begin);
        const int ring_first = dwfuse_floormod(top - first_end1, 4);
        const int in_rows = dwfuse_min(14, end + 1) - top;
        dwfuse_depthwise(l1_m1 + channel_begin, 336, 24, 1, 4, ring_first, in_rows, 14, 3, 3, 1, 1, pad_top,
                         1, 122, rows1, 14, 2, channel_count, l1_w1 + channel_begin * 12,
                         l1_q1 + channel_begin * 2, 19,
                         l1_m2 + (dwfuse_floormod(begin - first_end, 2) * 336 + channel_begin), 336, 24, 1,
                         l1_scratch + core * 272);
      }
    }
    dwfuse_barrier();
    const int rows2 = end - begin;
    for (int tile = 0; tile < 2; tile++) {
      const int tile_turn = step * 5 + first_chunks * 3 + tile;
      const int tile_first = tile * 4;
      if (core == 0) {
        dwfuse_dma_wait(4 + dwfuse_floormod(tile_turn, 2));
        if (tile + 1 < 2) {
          const int tile_first_1 = tile * 4 + 4;
          dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                        l1_w + dwfuse_floormod(tile_turn + 1, 2) * 96, w2 + tile_first_1 * 24, 1, 96, 0);
          dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                        l1_q + dwfuse_floormod(tile_turn + 1, 2) * 16, q2 + tile_first_1 * 2, 1, 32, 0);
        }
        if (tile == 1) {
          if (step + 1 < steps) {
            dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                          l1_w + dwfuse_floormod(tile_turn + 1, 2) * 96, w0, 1, 64, 0);
            dwfuse_dma_in(4 + dwfuse_floormod(tile_turn + 1, 2), 1,
                          l1_q + dwfuse_floormod(tile_turn + 1, 2) * 16, q0, 1, 64, 0);
          }
        }
      }
      dwfuse_barrier();
      {
        const int pixel_share = (rows2 * 14 + 31) / 32 * 4;
        const int pixel_begin = dwfuse_min(core * pixel_share, rows2 * 14);
        const int pixel_count = dwfuse_min(pixel_share, rows2 * 14 - pixel_begin);
        if (pixel_count > 0) {
          dwfuse_pointwise(l1_m2 + (dwfuse_floormod(begin - first_end, 2) * 336 + pixel_begin * 24), 24,
                           pixel_count, l1_w + dwfuse_floormod(tile_turn, 2) * 96, 24,
                           l1_q + dwfuse_floormod(tile_turn, 2) * 16, 4, 19,
                           l1_y + (step % 2 * 224 + pixel_begin * 8 + tile_first), 8, 1);
        }
      }
      dwfuse_barrier();
    }
    if (core == 0) {
      dwfuse_dma_out(6 + step % 2, 0, l1_y + step % 2 * 224, y + (begin * 112 - y_row0 * 112), 1,
                     end * 112 - begin * 112, 0);
    }
    dwfuse_barrier();
  }
  if (core == 0) {
    dwfuse_dma_wait(6);
    dwfuse_dma_wait(7);
  }
  dwfuse_barrier();
}
