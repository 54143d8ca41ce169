"""What a benchmark found, as JSON and as a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from tvm_dwfuse.report import text_table


@dataclass(frozen=True)
class Row:
    """One engine's times; ``max_abs_err`` is against ONNX Runtime's outputs, None when that is not installed."""

    engine: str
    median_ms: float
    min_ms: float
    max_abs_err: float | None


@dataclass(frozen=True)
class Missing:
    """An engine that was asked for and took no part."""

    engine: str
    reason: str


@dataclass(frozen=True)
class Result:
    """One network on one number of threads."""

    model: str
    target: str
    threads: int
    rows: tuple[Row, ...]
    missing: tuple[Missing, ...] = ()

    def row(self, engine: str) -> Row | None:
        """The row of an engine, or None when it took no part."""
        return next((row for row in self.rows if row.engine == engine), None)

    def to_dict(self) -> dict[str, Any]:
        """``{"model", "target", "threads", "rows", "missing"}``, ready for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """:meth:`to_dict` as indented JSON."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def to_text(self) -> str:
        """A table by median time, with the speed relative to dwfuse, and a line for each engine missing."""
        ours = self.row("dwfuse")
        lines = [f"{self.model}, target {self.target}, {self.threads} thread{'s' if self.threads > 1 else ''}"]
        lines.append(
            text_table(
                ("engine", "median ms", "min ms", "dwfuse takes", "max abs err"),
                [self._cells(row, ours) for row in sorted(self.rows, key=lambda row: row.median_ms)],
            )
        )
        lines += [f"missing: {missing.engine} ({missing.reason})" for missing in self.missing]
        return "\n".join(lines)

    def _cells(self, row: Row, ours: Row | None) -> tuple[str, ...]:
        ratio = f"{ours.median_ms / row.median_ms:.2f}x" if ours else "-"
        error = "-" if row.max_abs_err is None else f"{row.max_abs_err:.1e}"
        return row.engine, f"{row.median_ms:.3f}", f"{row.min_ms:.3f}", ratio, error
