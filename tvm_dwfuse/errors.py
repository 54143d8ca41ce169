"""Errors that a user can cause, each told in one line that says what is wrong and what to do."""

from __future__ import annotations


class DwfuseError(Exception):
    """A failure with a remedy. The command line prints it without a traceback and exits with status 2."""
