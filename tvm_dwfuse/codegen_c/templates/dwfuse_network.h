/* The network ${model} as a C library, compiled by tvm_dwfuse ${version} for ${target}; see README.txt.
 *
${signature}
 *
 * Memory is the caller's: a run allocates nothing. Every name begins with ${prefix}_, so that several networks
 * can be linked to one program.
 */
#ifndef ${guard}
#define ${guard}

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef DWFUSE_TENSOR_DEFINED /* the same in the headers of all networks */
#define DWFUSE_TENSOR_DEFINED

/* What an input or output looks like. Its elements lie in memory in the order of the model, last index fastest. */
typedef struct dwfuse_tensor {
  const char *name;     /* UTF-8, as in the model */
  const char *dtype;    /* such as "float32" or "int64" */
  int rank;             /* number of dimensions */
  const int64_t *shape; /* one extent for each dimension */
  size_t bytes;         /* size of the whole tensor */
} dwfuse_tensor;

/* What the functions return. */
enum dwfuse_status {
  DWFUSE_OK = 0,
  DWFUSE_BAD_ARGUMENT = 1, /* a null pointer, or a number out of range */
  DWFUSE_MISALIGNED = 2,   /* an input or output does not lie at a multiple of its elements' size */
  DWFUSE_BUSY = 3,         /* the threads are running already */
  DWFUSE_NO_THREADS = 4,   /* the system gives no more threads */
  DWFUSE_FAILED = 5        /* a kernel failed */
};

#endif

#define ${upper}_INPUTS ${inputs}
#define ${upper}_OUTPUTS ${outputs}

/* The inputs and outputs, in the order in which a run takes them. */
extern const dwfuse_tensor ${prefix}_inputs[${inputs_or_one}];
extern const dwfuse_tensor ${prefix}_outputs[${outputs_or_one}];

/* Bytes of memory that a run needs for itself. */
size_t ${prefix}_workspace_bytes(void);

/* Compute the outputs.
 *
 *   inputs     a pointer for each input, to its bytes; they are only read
 *   outputs    a pointer for each output, to memory for its bytes
 *   workspace  ${prefix}_workspace_bytes() bytes, with any contents
 *
 * No output may overlap an input, another output or the workspace. Any alignment that malloc gives will do; multiples
 * of 64 are fastest. Returns DWFUSE_OK, DWFUSE_BAD_ARGUMENT, DWFUSE_MISALIGNED or DWFUSE_FAILED.
 *
 * Several threads may call it at the same time, each with outputs and workspace of its own. */
int ${prefix}_run(const void *const *inputs, void *const *outputs, void *workspace);

/* Start threads, so that a run uses that many, the caller's among them; without them it uses the caller's alone.
 * The network was compiled for ${threads}: more of them gain nothing and are not started; 0 means just as many.
 * While one run uses the threads, another at the same time does without. The outputs are the same in every case.
 *
 * To be called by one thread at a time. Returns DWFUSE_OK, DWFUSE_BAD_ARGUMENT, DWFUSE_BUSY or DWFUSE_NO_THREADS. */
int ${prefix}_open(int threads);

/* End the threads, if there are any. No run may be going on. */
void ${prefix}_close(void);

#ifdef __cplusplus
}
#endif

#endif
