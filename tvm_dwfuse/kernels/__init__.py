"""Unscheduled definitions: what each block computes, once, for every schedule and code generator."""
