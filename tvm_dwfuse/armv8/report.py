"""What ``scripts/bench_armv8.py`` finds, as JSON and as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.report import markdown_table, text_table

from . import aims
from .aims import Verdict

OURS = "dwfuse"
LAYOUTS: tuple[Layout, ...] = ("NHWC", "NCHW")
_PASSES = ("forward", "backward_data", "backward_weight", "pointwise")

_LEGEND = (
    "Executed instructions, loads and stores for each multiply-accumulate (MAC): float32, one image, one thread, "
    "{core}; 0.25 are the multiply-adds with four lanes. Peers were measured once, their own way of running a layer."
)
_CYCLES_LEGEND = (
    "Cycles by llvm-mca for each output vector (backward_data: each vector of the output's gradient) in the loop that "
    "executes most of a kernel's multiplications, data in L1. Floor: the multiplications alone; and stores: these "
    "too, as they share pipes on some cores; then loads and stores alone. Share: part of all multiplications. Stack: "
    "accesses to it for each vector. Checks: branches, comparisons and selections besides the loop's own."
)

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class LayerRow:
    """Instructions for each multiply-accumulate of a layer; a peer's loads and stores were not measured."""

    layer: str
    procedure: str
    layout: str
    engine: str
    instructions_per_mac: float
    loads_per_mac: float | None = None
    stores_per_mac: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; the procedure is called ``pass``."""
        values = asdict(self)
        return {"layer": values.pop("layer"), "pass": values.pop("procedure"), **values}


@dataclass(frozen=True)
class NetworkRow:
    """Millions of instructions for one inference."""

    network: str
    engine: str
    million_instructions: float


@dataclass(frozen=True)
class CycleRow:
    """The hottest loop of a kernel on a core; cycles for each vector of the layer's output or its gradient."""

    layer: str
    procedure: str
    layout: str
    core: str
    cycles: float
    floor: float
    with_stores: float
    loads: float
    stores: float
    busiest: str
    share: float
    stack_accesses: float
    border_checks: int

    @property
    def over_floor(self) -> float:
        """Cycles as a multiple of the floor."""
        return self.cycles / self.floor

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; the procedure is called ``pass``."""
        values = asdict(self)
        return {"layer": values.pop("layer"), "pass": values.pop("procedure"), **values, "over_floor": self.over_floor}


@dataclass
class Armv8Report:
    """Everything measured for code compiled for ``core``; filled as it goes on."""

    core: str
    machine: dict[str, str]
    rows: list[LayerRow] = field(default_factory=list)
    networks: list[NetworkRow] = field(default_factory=list)
    cycles: list[CycleRow] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """``{"machine", "core", "rows", "networks", "cycles", "aims", "failures"}`` as indented JSON."""
        content = {
            "machine": self.machine,
            "core": self.core,
            "rows": [row.to_dict() for row in self.rows],
            "networks": [asdict(row) for row in self.networks],
            "cycles": [row.to_dict() for row in self.cycles],
            "aims": [asdict(verdict) for verdict in self.verdicts()],
            "failures": self.failures,
        }
        return json.dumps(content, indent=2) + "\n"

    def to_text(self, markdown: bool = False) -> str:
        """The tables, then each aim with what was found, as plain text or Markdown."""
        table = markdown_table if markdown else text_table
        parts = [", ".join(f"{key} {value}" for key, value in self.machine.items())]
        if self.rows:
            parts.append(_LEGEND.format(core=self.core))
            parts += [table(*self._layer_table(at)) for at in _PASSES if self._of(at)]
        if self.networks:
            parts += ["Instructions of one inference, in millions.", table(*self._network_table())]
        if self.cycles:
            parts += [_CYCLES_LEGEND, table(*self._cycle_table())]
        parts.append("\n".join(f"{'- ' if markdown else ''}{verdict}" for verdict in self.verdicts()))
        parts += [f"failed: {failure}" for failure in self.failures]
        return "\n\n".join(part for part in parts if part)

    def verdicts(self) -> list[Verdict]:
        """Each aim that something was measured for; depthwise ones for both layouts and for the better of them."""
        pointwise = self._ours("pointwise", "NHWC")
        found = [
            *self._depthwise_verdicts(),
            aims.at_most("pointwise", pointwise, aims.POINTWISE, list(pointwise)),
            *(aims.network(row.network, row.million_instructions) for row in self.networks if row.engine == OURS),
            *(self._cycle_verdict(procedure, layout) for procedure in _PASSES for layout in LAYOUTS),
        ]
        return [verdict for verdict in found if verdict]

    def _depthwise_verdicts(self) -> Iterator[Verdict | None]:
        layouts: dict[str, Callable[[str], dict[str, float]]] = {
            "NHWC": lambda procedure: self._ours(procedure, "NHWC"),
            "NCHW": lambda procedure: self._ours(procedure, "NCHW"),
            "the better layout": self._better,
        }
        ncnn = self._theirs("forward", "ncnn")
        for name, ours in layouts.items():
            yield aims.no_more_than(f"forward, {name}", ours("forward"), ncnn, "ncnn")
            yield aims.at_most(f"forward, {name}", ours("forward"), aims.FORWARD_LARGE, aims.LARGE_LAYERS)
        for procedure, peers in aims.GRADIENTS.items():
            for name, ours in layouts.items():
                for peer, times in peers.items():
                    theirs = self._theirs(procedure, peer)
                    yield aims.fewer(f"{procedure}, {name}", ours(procedure), theirs, peer, times)

    def _cycle_verdict(self, procedure: str, layout: str) -> Verdict | None:
        rows = [row for row in self.cycles if (row.procedure, row.layout) == (procedure, layout)]
        over_floor = {f"{row.core}, {row.layer}": row.over_floor for row in rows}
        over_stores = {f"{row.core}, {row.layer}": row.cycles / row.with_stores for row in rows}
        return aims.near_floor(f"{procedure}, {layout}", over_floor, over_stores)

    def _of(self, procedure: str) -> list[LayerRow]:
        return [row for row in self.rows if row.procedure == procedure]

    def _ours(self, procedure: str, layout: str) -> dict[str, float]:
        return {
            row.layer: row.instructions_per_mac
            for row in self._of(procedure)
            if (row.engine, row.layout) == (OURS, layout)
        }

    def _better(self, procedure: str) -> dict[str, float]:
        first, second = (self._ours(procedure, layout) for layout in LAYOUTS)
        return {layer: min(value, second[layer]) for layer, value in first.items() if layer in second}

    def _theirs(self, procedure: str, engine: str) -> dict[str, float]:
        return {row.layer: row.instructions_per_mac for row in self._of(procedure) if row.engine == engine}

    def _layer_table(self, procedure: str) -> Table:
        rows = self._of(procedure)
        layouts = [layout for layout in LAYOUTS if self._ours(procedure, layout)]
        peers = list(dict.fromkeys(row.engine for row in rows if row.engine != OURS))
        header = [procedure, *(f"{layout}: all, loads, stores" for layout in layouts), *peers]
        cells = {(row.layer, row.layout if row.engine == OURS else row.engine): _cell(row) for row in rows}
        layers = dict.fromkeys(row.layer for row in rows)
        return header, [[layer, *(cells.get((layer, at), "-") for at in (*layouts, *peers))] for layer in layers]

    def _network_table(self) -> Table:
        engines = list(dict.fromkeys(row.engine for row in self.networks))
        values = {(row.network, row.engine): f"{row.million_instructions:.1f}" for row in self.networks}
        networks = dict.fromkeys(row.network for row in self.networks)
        return ["network", *engines], [[name, *(values.get((name, at), "-") for at in engines)] for name in networks]

    def _cycle_table(self) -> Table:
        header = ["layer", "pass", "layout", "core", "cycles", "floor", "times", "and stores", "loads", "stores"]
        header += ["stack", "busiest", "share", "checks"]
        rows = []
        for row in self.cycles:
            numbers = (
                row.cycles,
                row.floor,
                row.over_floor,
                row.with_stores,
                row.loads,
                row.stores,
                row.stack_accesses,
            )
            names = (row.layer, row.procedure, row.layout, row.core)
            texts = (row.busiest, f"{row.share:.0%}", str(row.border_checks))
            rows.append([*names, *(f"{number:.2f}" for number in numbers), *texts])
        return header, rows


def _cell(row: LayerRow) -> str:
    if row.loads_per_mac is None or row.stores_per_mac is None:
        return f"{row.instructions_per_mac:.3f}"
    return f"{row.instructions_per_mac:.3f}, {row.loads_per_mac:.3f}, {row.stores_per_mac:.3f}"
