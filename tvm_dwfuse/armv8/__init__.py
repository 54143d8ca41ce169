"""Measuring code for ARMv8 cores without one: executed instructions under qemu, cycles of inner loops by llvm-mca."""
