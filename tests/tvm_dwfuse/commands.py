"""The command line, called in this process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from tvm_dwfuse.cli import app


def dwfuse(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def succeed(*args: object) -> str:
    result = dwfuse(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(*args: object) -> str:
    """The one line that a bad input is answered with."""
    result = dwfuse(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr
