"""Schedules: one file a family. Tile sizes come from the target description and the knobs, never from here."""

from .build import Kernel, build_kernel, legal_variants
from .knobs import default_knobs
from .tile import Knobs, Tile

__all__ = ["Kernel", "Knobs", "Tile", "build_kernel", "default_knobs", "legal_variants"]
