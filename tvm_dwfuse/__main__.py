"""``python -m tvm_dwfuse`` is the command ``dwfuse``."""

from .cli import app

app(prog_name="dwfuse")
