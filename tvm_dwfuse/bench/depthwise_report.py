"""What came out of timing depthwise layers, as JSON and as tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import geometric_mean
from typing import Any

from tvm_dwfuse.kernels.depthwise import PROCEDURES
from tvm_dwfuse.report import markdown_table, text_table

#: How many times faster than PyTorch each procedure is meant to be, as the geometric mean over layers.
AIMS: Mapping[str, float] = {"forward": 3.0, "backward_data": 4.0, "backward_weight": 6.0}

#: The columns of the first table: dwfuse against these, the better of several.
_AGAINST: Mapping[str, tuple[str, ...]] = {
    "vs torch": ("torch",),
    "vs channels_last": ("torch-channels-last",),
    "vs the better": ("torch", "torch-channels-last"),
}
_SAME_LAYOUT = {"NCHW": ("dwfuse-nchw", "torch"), "NHWC": ("dwfuse-nhwc", "torch-channels-last")}

LEGEND = (
    "Ratios are PyTorch's time divided by dwfuse's, geometric means over layers; torch is contiguous. Limit: the time "
    "that this machine needs to multiply, or to read and write each tensor once, divided by dwfuse's time."
)


@dataclass(frozen=True)
class LayerTime:
    """One engine's time for one procedure of a layer.

    ``error`` is the largest difference from PyTorch's result in contiguous tensors (or from ours in NCHW without
    PyTorch) relative to its largest value, over some of the values. ``least_ms`` is what no engine can be below.
    """

    layer: str
    procedure: str
    threads: int
    batch: int
    engine: str
    median_ms: float
    layout: str
    runs: int
    error: float
    least_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; the procedure is called ``pass``."""
        values = asdict(self)
        return {"layer": values.pop("layer"), "pass": values.pop("procedure"), **values}


@dataclass(frozen=True)
class Setting:
    """What a line of the first two tables is about."""

    procedure: str
    threads: int
    batch: int

    def cells(self) -> tuple[str, ...]:
        """The first columns of the line."""
        return self.procedure, str(self.threads), str(self.batch)


_SETTING_HEADER = ("pass", "threads", "batch")


@dataclass
class DepthwiseReport:
    """All that ``scripts/bench_depthwise.py`` measures; filled as it goes on."""

    machine: dict[str, str]
    missing: dict[str, str] = field(default_factory=dict)
    rows: list[LayerTime] = field(default_factory=list)

    def to_json(self) -> str:
        """``{"machine", "missing", "rows"}`` as indented JSON; ``missing`` has the reason by engine."""
        content = {"machine": self.machine, "missing": self.missing, "rows": [row.to_dict() for row in self.rows]}
        return json.dumps(content, indent=2) + "\n"

    def to_text(self, markdown: bool = False) -> str:
        """The machine, the tables, and which aims are met, as plain text or Markdown."""
        table = markdown_table if markdown else text_table
        parts = [", ".join(f"{key} {value}" for key, value in self.machine.items()), LEGEND]
        parts += [table(*self._summary()), table(*self._same_layout()), table(*self._layers())] if self.rows else []
        parts += ["\n".join(f"{'- ' if markdown else ''}{line}" for line in self.verdicts())]
        parts += [f"missing: {engine} ({reason})" for engine, reason in self.missing.items()]
        return "\n\n".join(part for part in parts if part)

    def settings(self) -> list[Setting]:
        """Passes, threads and batch sizes that were measured, passes first."""
        found = {Setting(row.procedure, row.threads, row.batch) for row in self.rows}
        return sorted(found, key=lambda at: (PROCEDURES.index(at.procedure), at.threads, at.batch))  # type: ignore[arg-type]

    def ratios(self, setting: Setting, ours: str, theirs: Sequence[str]) -> dict[str, float]:
        """How many times faster ``ours`` is than the best of ``theirs``, by layer; layers without all are left out."""
        times = self._times(setting)
        return {
            layer: min(engines[name] for name in theirs) / engines[ours]
            for layer, engines in times.items()
            if {ours, *theirs} <= engines.keys()
        }

    def verdicts(self) -> list[str]:
        """A line for every pass and peer: its aim, met or missed in which settings."""
        lines = []
        for procedure, aim in AIMS.items():
            settings = [setting for setting in self.settings() if setting.procedure == procedure]
            for column, theirs in _AGAINST.items():
                ratios = [self.ratios(setting, "dwfuse", theirs) for setting in settings]
                means = [geometric_mean(found.values()) for found in ratios if found]
                if not means:
                    continue
                slower = sum(ratio < 1 for found in ratios for ratio in found.values())
                met = sum(mean >= aim for mean in means)
                lines.append(
                    f"{procedure} {column}: {aim:g}x {'met' if met == len(means) else 'missed'} "
                    f"({met} of {len(means)} settings), slower on {slower} of {sum(map(len, ratios))} layers"
                )
        return lines

    def _times(self, setting: Setting) -> dict[str, dict[str, float]]:
        """Medians by layer and engine."""
        times: dict[str, dict[str, float]] = {}
        for row in self.rows:
            if Setting(row.procedure, row.threads, row.batch) == setting:
                times.setdefault(row.layer, {})[row.engine] = row.median_ms
        return times

    def _summary(self) -> tuple[list[str], list[list[str]]]:
        header = [*_SETTING_HEADER, "aim", *_AGAINST, "slowest vs the better", "limit"]
        rows = []
        for setting in self.settings():
            ratios = {column: self.ratios(setting, "dwfuse", theirs) for column, theirs in _AGAINST.items()}
            means = [_mean(found.values()) for found in ratios.values()]
            limit = _mean(self._limits(setting).values(), "{:.0%}")
            slowest = _slowest(ratios["vs the better"])
            rows.append([*setting.cells(), f"{AIMS[setting.procedure]:g}x", *means, slowest, limit])
        return header, rows

    def _same_layout(self) -> tuple[list[str], list[list[str]]]:
        header = [*_SETTING_HEADER]
        for layout in _SAME_LAYOUT:
            header += [f"both {layout}", f"slowest {layout}"]
        rows = []
        for setting in self.settings():
            cells = [*setting.cells()]
            for ours, theirs in _SAME_LAYOUT.values():
                ratios = self.ratios(setting, ours, [theirs])
                cells += [_mean(ratios.values()), _slowest(ratios)]
            rows.append(cells)
        return header, rows

    def _layers(self) -> tuple[list[str], list[list[str]]]:
        """Microseconds of dwfuse and, in brackets, how many times faster it is than the better of PyTorch."""
        settings = self.settings()
        columns = list(dict.fromkeys((setting.threads, setting.batch) for setting in settings))
        header = ["layer", "pass", *(f"us, threads {threads}, batch {batch}" for threads, batch in columns)]
        cells = {setting: self._layer_cells(setting) for setting in settings}
        rows = [
            [layer, procedure, *(cells.get(Setting(procedure, *column), {}).get(layer, "-") for column in columns)]
            for layer in dict.fromkeys(row.layer for row in self.rows)
            for procedure in PROCEDURES
        ]
        return header, rows

    def _layer_cells(self, setting: Setting) -> dict[str, str]:
        ratios = self.ratios(setting, "dwfuse", _AGAINST["vs the better"])
        return {
            layer: f"{1e3 * engines['dwfuse']:.1f}" + (f" ({ratios[layer]:.2f}x)" if layer in ratios else "")
            for layer, engines in self._times(setting).items()
        }

    def _limits(self, setting: Setting) -> dict[str, float]:
        """The least time divided by dwfuse's, by layer."""
        return {
            row.layer: row.least_ms / row.median_ms
            for row in self.rows
            if row.engine == "dwfuse" and Setting(row.procedure, row.threads, row.batch) == setting
        }


def _mean(values: Iterable[float], form: str = "{:.2f}x") -> str:
    values = list(values)
    return form.format(geometric_mean(values)) if values else "-"


def _slowest(ratios: Mapping[str, float]) -> str:
    if not ratios:
        return "-"
    layer = min(ratios, key=lambda name: ratios[name])
    return f"{ratios[layer]:.2f}x {layer}"
