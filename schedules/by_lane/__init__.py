"""Pointwise convolutions, and blocks around them, for machines that multiply a vector by one lane of another.

Other machines broadcast an activation from memory into each product at no cost, and the schedules beside this package
say so by primitives. Here activations are packed as vectors of pixels first, which a depthwise stage in front does in
passing, and then a product takes its factor from a lane: what that needs (transposed stores, tiles of pixels across
rows) is no primitive, so these functions are written as loops.
"""

from .build import build
from .knobs import computes, default_knobs
from .space import check, freedom

__all__ = ["build", "check", "computes", "default_knobs", "freedom"]
