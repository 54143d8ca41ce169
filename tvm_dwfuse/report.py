"""Tables as aligned plain text and as Markdown, and reports made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .files import write_text


class Report(Protocol):
    """What a benchmark found."""

    def to_json(self) -> str:
        """All of it."""

    def to_text(self, markdown: bool = False) -> str:
        """Its tables."""


def write_report(report: Report, json_file: Path | None, markdown: Path | None) -> None:
    """Write what there is so far to the files that were asked for.

    Raises:
        DwfuseError: a file cannot be written.
    """
    if json_file:
        write_text(json_file, report.to_json())
    if markdown:
        write_text(markdown, report.to_text(markdown=True) + "\n")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by spaces, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return "\n".join(_aligned(row, widths) for row in (header, ["-" * width for width in widths], *rows))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table, the first column aligned to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join(cells).rstrip()


def fused_line(fused: dict[str, int]) -> str:
    """Fused blocks by variant, in words."""
    if not fused:
        return "no separable block found: nothing was fused"
    counts = ", ".join(f"{count} {kind}" for kind, count in fused.items())
    return f"fused blocks: {counts}"
