"""Scheduled TensorIR to C for GAP8 and its relatives: intrinsics, printer, kernels, runtime."""
