"""What the printer and the expansion of intrinsics have to agree on about L1."""

from __future__ import annotations

#: Storage scope of buffers in L1.
L1_SCOPE = "global.l1"

#: Kernels may read a word at a time past the end of what they use; the values do not matter.
OVERREAD_BYTES = 4
