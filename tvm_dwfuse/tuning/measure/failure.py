"""How a candidate's failure is told between processes."""

from __future__ import annotations


class Failure(Exception):
    """A candidate that failed; the message is the error of its measurement, and begins with its kind."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without the C++ condition that TVM quotes."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.rpartition(") is false: ")[2] or line
