/* The calls of the network ${model}, in order. */
#include "dwfuse_network.h"

#include <string.h>

#include "dwfuse_threads.h"

/* Kernels, compiled by TVM: pointers to tensors, then to scratch memory. */
${prototypes}

/* The constants, from weights.S. */
extern const unsigned char dwfuse_constants[];

${shapes}

const dwfuse_tensor ${prefix}_inputs[] = {
${input_rows}
};

const dwfuse_tensor ${prefix}_outputs[] = {
${output_rows}
};

static const unsigned char input_alignment[] = {${input_alignment}};
static const unsigned char output_alignment[] = {${output_alignment}};

size_t ${prefix}_workspace_bytes(void) { return ${workspace_bytes} + ${slack}; }

static int check(const void *pointer, unsigned alignment) {
  if (!pointer) return DWFUSE_BAD_ARGUMENT;
  return (uintptr_t)pointer % alignment ? DWFUSE_MISALIGNED : DWFUSE_OK;
}

static int check_all(const void *const *in, void *const *out, const void *workspace) {
  int i, status;
  if (!in || !out || !workspace) return DWFUSE_BAD_ARGUMENT;
  for (i = 0; i < ${inputs}; i++) {
    if ((status = check(in[i], input_alignment[i])) != DWFUSE_OK) return status;
  }
  for (i = 0; i < ${outputs}; i++) {
    if ((status = check(out[i], output_alignment[i])) != DWFUSE_OK) return status;
  }
  return DWFUSE_OK;
}

static int32_t run_kernels(const void *const *in, void *const *out, unsigned char *w) {
  const unsigned char *c = dwfuse_constants;
  (void)in, (void)out, (void)w, (void)c;
${calls}
  return 0;
}

int ${prefix}_run(const void *const *inputs, void *const *outputs, void *workspace) {
  int status = check_all(inputs, outputs, workspace);
  unsigned char *aligned;
  if (status != DWFUSE_OK) return status;
  aligned = (unsigned char *)workspace + -(uintptr_t)workspace % ${alignment};
  return run_kernels(inputs, outputs, aligned) ? DWFUSE_FAILED : DWFUSE_OK;
}

int ${prefix}_open(int threads) {
  if (threads < 0) return DWFUSE_BAD_ARGUMENT;
  return dwfuse_threads_start(threads);
}

void ${prefix}_close(void) { dwfuse_threads_stop(); }
