"""The C that every library has besides its network: the threads that share the loops of a kernel."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent

SOURCE = FOLDER / "dwfuse_threads.c"
