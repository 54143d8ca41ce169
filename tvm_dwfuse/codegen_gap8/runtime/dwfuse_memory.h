/* The memories and transfers of platforms without a DMA engine: allocated memory, and copies by core 0. */
#ifndef DWFUSE_MEMORY_H
#define DWFUSE_MEMORY_H

#include "dwfuse_platform.h"

/* The L1 arena, filled with a pattern so that reading what nobody wrote shows; 0, or nonzero after a message. */
int dwfuse_memory_open(int l1_bytes);
void dwfuse_memory_close(void);

/* Stops the program if a transfer of the DMA was started and never waited for. */
void dwfuse_memory_check_waited(void);

/* Should the call of that name (l1, l2, l3_open, or the given l3_read) fail? The platform injects faults. */
int dwfuse_fault(const char *call, long number);

#endif
