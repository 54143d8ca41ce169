#include "dwfuse_kernels.h"
#include "dwfuse_runtime.h"
#include "dwfuse_scalar.h"

#define SCALARS_L1_BYTES 72

void scalars(int core, uint8_t *l1, const uint8_t *zero, uint8_t *y, int n, int m) {
  uint8_t *const l1_zero = l1;
  uint8_t *const l1_y = l1 + 4;
  const int d = n - m;
  if (core == 0) {
    dwfuse_dma_in(0, 0, l1_zero, zero, 1, 4, 0);
    dwfuse_dma_in(0, 0, l1_y, zero, 1, 64, 0);
    dwfuse_dma_wait(0);
  }
  dwfuse_barrier();
  if (core == 7) {
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(dwfuse_floordiv(d, 3), 256), 0, l1_y);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(d, 3) % 256, 0, l1_y + 1);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, n / 3 % 256, 0, l1_y + 2);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, n % 3 % 256, 0, l1_y + 3);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(dwfuse_floordiv(d - 7, -3), 256), 0,
               l1_y + 4);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(dwfuse_floormod(d - 7, -3), 256), 0,
               l1_y + 5);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(d / 3, 256), 0, l1_y + 6);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(d % 3, 256), 0, l1_y + 7);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(n - (m - d), 256), 0, l1_y + 8);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, (n - (m + d)) % 256, 0, l1_y + 9);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, (n - m - d) % 256, 0, l1_y + 10);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, n * (m + 2) % 256, 0, l1_y + 11);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, n / 2 * 3 % 256, 0, l1_y + 12);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, n * 3 / 2 % 256, 0, l1_y + 13);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, n / (m + 1) % 256, 0, l1_y + 14);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, n * (m / 2) % 256, 0, l1_y + 15);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_min(n, dwfuse_max(m, d)) % 256, 0, l1_y + 16);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, (d < 0 ? n : m) % 256, 0, l1_y + 17);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(n > 2 && m != 3 ? d : 9, 256), 0, l1_y + 18);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, (n << 2) % 256, 0, l1_y + 19);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, ((n + 3) >> 1) % 256, 0, l1_y + 20);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod((n & 3) | m, 256), 0, l1_y + 21);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod((n ^ m) + 1, 256), 0, l1_y + 22);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, (n - -5) % 256, 0, l1_y + 23);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(d * -1, 256), 0, l1_y + 24);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, dwfuse_floormod(n * -2 - -1, 256), 0, l1_y + 25);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, (((n < m && m >= 2) || n == m) || !(n <= 4)) % 256, 0,
               l1_y + 26);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, ((d > 0 ? (n > m ? 1 : 2) : (n > 1 ? 3 : 4)) + 1) % 256, 0,
               l1_y + 27);
    dwfuse_add(l1_zero, l1_zero, 1, 0, 0, ((n > m ? n : m) == 3 ? 5 : 6) % 256, 0, l1_y + 28);
  }
  dwfuse_barrier();
  if (n < m) {
    for (int part = n; part < m; part++) {
      if (core == 0) {
        dwfuse_add(l1_zero, l1_zero, 1, 0, 0, ((part - n) / 2 + n % 2) % 256, 0, l1_y + (part - n + 29));
      }
      dwfuse_barrier();
    }
  } else {
    if (core == 0) {
      dwfuse_add(l1_zero, l1_zero, 1, 0, 0, (n - m) % 256, 0, l1_y + 29);
    }
    dwfuse_barrier();
    if (core == 0) {
      dwfuse_dma_in(0, 0, l1_y + 30, zero + 64, 1, 1, 0);
      dwfuse_dma_wait(0);
    }
    dwfuse_barrier();
  }
  if (core == 0) {
    dwfuse_dma_out(1, 0, l1_y, y, 1, 64, 0);
    dwfuse_dma_wait(1);
  }
  dwfuse_barrier();
}
