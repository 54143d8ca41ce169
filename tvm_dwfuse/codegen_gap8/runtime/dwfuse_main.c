/* The program around a network: opens the machine, reads the input, runs, writes the output, prints the result. */
#include <stdio.h>

#include "dwfuse_platform.h"

static int open_machine(void) {
  if (dwfuse_open(dwfuse_network.l1_bytes, dwfuse_network.cores)) return 1;
  /* L3 first: filling it takes buffers in L2 for a while. */
  if (dwfuse_network.l3_bytes && dwfuse_l3_open(dwfuse_network.weights_bytes, dwfuse_network.l3_bytes)) return 1;
  return dwfuse_l2_open(dwfuse_network.l2_bytes);
}

static void print_result(unsigned ticks) {
  const dwfuse_counters_t *c = &dwfuse_counters;
  printf("{\"dwfuse\": {\"network\": \"%s\", \"ticks\": %u, \"unit\": \"%s\", \"checked\": %u, ",
         dwfuse_network.name, ticks, dwfuse_ticks_unit, dwfuse_checked);
  printf("\"activation_in\": %lu, \"activation_out\": %lu, \"constant_in\": %lu, \"dma_transfers\": %lu, ",
         (unsigned long)c->activation_in, (unsigned long)c->activation_out, (unsigned long)c->constant_in,
         (unsigned long)c->dma_transfers);
  printf("\"l3_in\": %lu, \"l3_out\": %lu, \"l3_transfers\": %lu}}\n", (unsigned long)c->l3_in,
         (unsigned long)c->l3_out, (unsigned long)c->l3_transfers);
}

int dwfuse_main(void) {
  if (open_machine()) return 1;
  uint8_t *input = dwfuse_l2() + dwfuse_network.input_offset, *output = dwfuse_l2() + dwfuse_network.output_offset;
  if (dwfuse_file_read("input.bin", 0, input, dwfuse_network.input_bytes) != dwfuse_network.input_bytes)
    dwfuse_fail_number("input.bin cannot be read: %ld bytes are needed", dwfuse_network.input_bytes);

  unsigned start = dwfuse_cycles();
  int status = dwfuse_network_run(input, output);
  unsigned ticks = dwfuse_cycles() - start;
  if (status) dwfuse_fail_number("the network ended with status %ld", status);

  if (dwfuse_file_write("output.bin", output, dwfuse_network.output_bytes))
    dwfuse_fail(0, "output.bin cannot be written");
  dwfuse_profile_print();
  print_result(ticks);
  dwfuse_close();
  return 0;
}
