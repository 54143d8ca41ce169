/* What generated layers and networks call: cores, memories, transfers, failures, counters.
 *
 * Three platforms implement it: GAP8 (PMSIS), the host (threads) and plain RV32 (eight harts of QEMU's "virt" machine).
 * A program is a generated network.c, its layers and kernels, dwfuse_common.c, dwfuse_main.c and one platform.
 *
 * Files. The program runs in a folder with weights.bin (if the network keeps constants in L3), input.bin and, when it
 * was built with -DDWFUSE_CHECK, golden/<layer>.bin. It writes output.bin and prints one line that a machine reads:
 *   {"dwfuse": {"network": "NAME", "ticks": N, "unit": "cycles", "checked": N, "activation_in": N, ...}}
 * On GAP8 weights.bin lies in flash (READFS_FILES of the Makefile); the other files are those of the computer that the
 * simulator or the board's debugger runs on, in the folder -DDWFUSE_FOLDER='"..."'.
 * Any failure prints "dwfuse: layer NAME: WHAT" and ends the program with a status other than 0, without that line.
 *
 * Compile-time options:
 *   -DDWFUSE_PROFILE   a table of ticks and bytes for each layer (and on GAP8: the counters at all)
 *   -DDWFUSE_CHECK     compare activations with golden files
 *   -DDWFUSE_FC_HZ=n, -DDWFUSE_CLUSTER_HZ=n   GAP8: clocks, up to 250000000 and 175000000; else those at reset
 *   -DDWFUSE_DMA_LATE  host, RV32: bytes move when a transfer is waited for, not when it starts
 */
#ifndef DWFUSE_RUNTIME_H
#define DWFUSE_RUNTIME_H

#include <stdint.h>

/* --- The network: what dwfuse_main.c has to know; network.c defines these. --- */

typedef struct {
  const char *name;
  int cores;
  int l1_bytes;           /* the L1 arena */
  int l2_bytes;           /* the L2 arena: activations, and constants that stream through L2 */
  int input_bytes;
  int input_offset;       /* where in the L2 arena the program puts the input */
  int output_bytes;
  int output_offset;      /* where in the L2 arena the program finds the output */
  uint32_t weights_bytes; /* size of weights.bin, copied to L3 address 0; 0 if there is none */
  uint32_t l3_bytes;      /* all of L3: weights, then activations spilled there; 0 if L3 is not used */
} dwfuse_network_t;

extern const dwfuse_network_t dwfuse_network;

/* Runs the network once, on the fabric controller; 0 when all is well. Input and output may lie in the L2 arena. */
int dwfuse_network_run(const uint8_t *input, uint8_t *output);

/* --- Opening and closing: each returns 0, or nonzero after saying what failed. --- */

int dwfuse_open(int l1_bytes, int cores); /* the cluster, and its L1 as one arena */
int dwfuse_l2_open(int bytes);            /* the L2 arena */
int dwfuse_l3_open(uint32_t weights_bytes, uint32_t l3_bytes);
void dwfuse_close(void);

uint8_t *dwfuse_l1(void); /* the arenas, aligned to 8 bytes */
uint8_t *dwfuse_l2(void);

/* --- The cluster. --- */

/* All cores run task(core, args); returns when all are done. Called by the fabric controller. */
void dwfuse_cluster_run(void (*task)(int core, void *args), void *args);

/* All cores of the cluster meet here. */
void dwfuse_barrier(void);

/* --- Transfers between L2 and L1, by core 0. A slot may have several under way; waiting waits for all of them. --- */

#define DWFUSE_SLOTS 8
#define DWFUSE_TRANSFERS 16 /* under way at once, on all slots together: as many as the DMA has counters */

enum { DWFUSE_ACTIVATION = 0, DWFUSE_CONSTANT = 1 }; /* kind: what the bytes are counted as */

/* `lines` lines of `line_bytes`, `l2_stride` bytes apart in L2 and without gaps in L1; less than 64 KiB in all. */
void dwfuse_dma_in(int slot, int kind, void *l1, const void *l2, int lines, int line_bytes, int l2_stride);
void dwfuse_dma_out(int slot, int kind, const void *l1, void *l2, int lines, int line_bytes, int l2_stride);
void dwfuse_dma_wait(int slot);

/* --- Transfers between L3 and L2, by the fabric controller, which may run the cluster meanwhile. --- */

void dwfuse_l3_read(int slot, void *l2, uint32_t l3_offset, int bytes);
void dwfuse_l3_write(int slot, const void *l2, uint32_t l3_offset, int bytes);
void dwfuse_l3_wait(int slot);

/* --- Layers: names for failures, golden outputs, the profile. --- */

void dwfuse_layer_begin(const char *layer);
void dwfuse_layer_end(void);

/* Compares `bytes` of an activation with golden/<name>.bin from `offset` on, and stops at the first that differs.
   A file that does not exist is passed over; the program prints how many comparisons it made. Called after
   dwfuse_layer_end, so that reading files does not count as the layer's time. */
#ifdef DWFUSE_CHECK
void dwfuse_check(const char *name, const uint8_t *actual, uint32_t offset, int bytes);
#else
#define dwfuse_check(name, actual, offset, bytes) ((void)0)
#endif

/* Prints and ends the program; layer may be NULL. */
void dwfuse_fail(const char *layer, const char *what) __attribute__((noreturn));

/* --- Counters. --- */

typedef struct {
  uint32_t activation_in, activation_out; /* bytes from L2 to L1, and back; on GAP8 0 without -DDWFUSE_PROFILE */
  uint32_t constant_in;                   /* bytes from L2 to L1; likewise */
  uint32_t dma_transfers;
  uint32_t l3_in, l3_out; /* bytes from L3 to L2, and back */
  uint32_t l3_transfers;
} dwfuse_counters_t;

extern dwfuse_counters_t dwfuse_counters;

/* GAP8: cycles of the cluster. RV32 with -icount: instructions of all harts. Host: microseconds. Wraps at 32 bits. */
unsigned dwfuse_cycles(void);

#endif
