"""A network as a plain C library: a header, a static library and an example program, without TVM.

The parts, in the order in which they act: ``reader`` (the lowered Relax module as a list of calls), ``kernels`` and
``scratch`` (its TensorIR functions as an object file of plain C functions), ``memory`` (one workspace for all
activations), ``source`` (the C between, from ``templates``, with ``runtime``), ``library`` (compiled and packed).
"""

from .example import run_example
from .library import write_c_library

__all__ = ["run_example", "write_c_library"]
