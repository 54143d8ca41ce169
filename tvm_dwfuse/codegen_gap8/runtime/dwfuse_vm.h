/* What a module for TVM's virtual machine calls. */
#ifndef DWFUSE_VM_H
#define DWFUSE_VM_H

/* Runs network(args) with an L1 arena of its own; nonzero, after printing what failed, when the network stopped. */
int dwfuse_vm_run(int l1_bytes, void (*network)(void *args), void *args);

#endif
