"""Programs that take too long end, and so does what they started."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tvm_dwfuse.runners.process import ProgramError, TimeLimitError, execute


def test_a_time_limit_ends_everything_that_was_started(tmp_path: Path) -> None:
    """Such as a simulator below make, which would go on for ever."""
    script = "sleep 60 & echo $! > child; echo begun; wait"
    with pytest.raises(TimeLimitError, match=r"slow: not done after 1 s; raise the time limit") as caught:
        execute(["sh", "-c", script], tmp_path, "slow", 1)
    assert caught.value.log == "begun\n"
    assert _ends(int((tmp_path / "child").read_text()))


def test_what_a_failed_program_said_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="ended with status 3: ERROR: no luck") as caught:
        execute(["sh", "-c", "echo hello; echo ERROR: no luck; exit 3"], tmp_path, "bad", 10)
    assert caught.value.log.splitlines() == ["hello", "ERROR: no luck"]


def _ends(process: int) -> bool:
    """Whether a process is gone, or dead and only waits to be asked how it ended, within seconds."""
    for _ in range(100):
        try:
            if "\nState:\tZ" in Path(f"/proc/{process}/status").read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False
