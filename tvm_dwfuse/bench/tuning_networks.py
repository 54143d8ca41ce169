"""What tuning and choosing bring for whole networks, and how these compare with other engines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tvm_dwfuse.report import markdown_table, text_table

from .engines import DEFAULTS, EVERYTHING, OURS
from .report import Result

TUNED, UNFUSED = OURS
DEFAULT, DEFAULT_UNFUSED = DEFAULTS

#: The engines of the table, and how its columns are headed.
ENGINES = {
    TUNED: "tuned",
    DEFAULT: "default",
    UNFUSED: "tuned, unfused",
    DEFAULT_UNFUSED: "default, unfused",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
#: The engines of the check of what is fused.
FUSION_ENGINES = (TUNED, EVERYTHING, UNFUSED)

#: Medians of the same code scatter by so much from process to process: memory lies elsewhere.
TOLERANCE = 0.02

LEGEND = (
    "Medians in milliseconds of one interleaved run, 1 thread; default: knobs and blocks by fixed rules, without "
    "records of tuning; vs: time of tuned relative to that, below 1 is faster; peers: the faster of ONNX Runtime and "
    "OpenVINO."
)
FUSION_LEGEND = (
    "Medians in milliseconds, 1 thread, all kernels tuned: what is fused chosen by costs, every block fused, and none."
)


@dataclass
class TuningReport:
    """All that ``scripts/bench_tuning.py`` measures of networks; filled as it goes on."""

    machine: dict[str, str]
    results: list[Result] = field(default_factory=list)
    fusion: list[Result] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Everything, as indented JSON."""
        content = {
            "machine": self.machine,
            "results": [result.to_dict() for result in self.results],
            "fusion": [result.to_dict() for result in self.fusion],
            "failures": self.failures,
        }
        return json.dumps(content, indent=2) + "\n"

    def to_text(self, markdown: bool = False) -> str:
        """The machine and the tables, as plain text or Markdown."""
        parts = [", ".join(f"{key} {value}" for key, value in self.machine.items())]
        if self.results:
            parts += [LEGEND, networks_table(self.results, markdown)]
        if self.fusion:
            parts += [FUSION_LEGEND, fusion_table(self.fusion, markdown)]
        return "\n\n".join([*parts, *(f"failed: {failure}" for failure in self.failures)])


def networks_table(results: Sequence[Result], markdown: bool = False) -> str:
    """One row a network, and the geometric means of the ratios."""
    ratios = [_ratios(result) for result in results]
    header = ["network", *ENGINES.values(), "vs default", "unfused vs default", "vs unfused", "vs peers"]
    rows = [
        [result.model, *_times(result, ENGINES), *map(_ratio, each)]
        for result, each in zip(results, ratios, strict=True)
    ]
    means = [_ratio(geometric_mean(column)) for column in zip(*ratios, strict=True)]
    rows.append(["geometric mean", *[""] * len(ENGINES), *means])
    return (markdown_table if markdown else text_table)(header, rows)


def fusion_table(results: Sequence[Result], markdown: bool = False) -> str:
    """One row a network: the choice, its rivals, and whether it is as good as the better of them."""
    header = ["network", "chosen", "everything", "nothing", "vs the better", "within noise"]
    rows = [
        [
            result.model,
            *_times(result, FUSION_ENGINES),
            _ratio(ratio := fusion_ratio(result)),
            "yes" if ratio is not None and ratio <= 1 + TOLERANCE else "no",
        ]
        for result in results
    ]
    return (markdown_table if markdown else text_table)(header, rows)


def fusion_ratio(result: Result) -> float | None:
    """Time of what was chosen relative to the faster of everything and nothing fused."""
    return _over(_ms(result, TUNED), _least(result, (EVERYTHING, UNFUSED)))


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """Of those that there are; None of none."""
    known = [math.log(ratio) for ratio in ratios if ratio is not None]
    return math.exp(sum(known) / len(known)) if known else None


def _ratios(result: Result) -> list[float | None]:
    tuned, unfused = _ms(result, TUNED), _ms(result, UNFUSED)
    return [
        _over(tuned, _ms(result, DEFAULT)),
        _over(unfused, _ms(result, DEFAULT_UNFUSED)),
        _over(tuned, unfused),
        _over(tuned, _least(result, ("onnxruntime", "openvino"))),
    ]


def _ms(result: Result, engine: str) -> float | None:
    row = result.row(engine)
    return row.median_ms if row else None


def _least(result: Result, engines: Iterable[str]) -> float | None:
    known = [ms for engine in engines if (ms := _ms(result, engine)) is not None]
    return min(known, default=None)


def _over(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def _times(result: Result, engines: Iterable[str]) -> list[str]:
    return ["-" if (ms := _ms(result, engine)) is None else f"{ms:.3f}" for engine in engines]


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"
