"""The numbers of the charts as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from .model import Block, Build, Curve, Operator, percent, signed

Item = TypeVar("Item")

_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """A text, and a smaller one below it."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Row:
    """The cells of a row; those of fused blocks and of totals stand out."""

    cells: tuple[Cell, ...]
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under titles; the columns from ``numbers`` on hold numbers, and ``widths`` are their percent of the page."""

    caption: str
    titles: tuple[str, ...]
    numbers: int
    rows: tuple[Row, ...]
    widths: tuple[int, ...] = ()


def total_table(build: Build) -> Table:
    """The network as chosen and otherwise."""
    chosen = build.totals[0]
    titles = ("Network", f"Cost, {build.unit.name}", "Chosen is", "Activations moved, bytes", "Chosen is")
    rows = []
    for total in build.totals:
        changes = [_NOTHING, _NOTHING]
        if total is not chosen:
            changes = [_change(chosen.cost, total.cost), _change(chosen.moved, total.moved)]
        texts = (total.name, build.unit.text(total.cost), changes[0], f"{total.moved:,}", changes[1])
        rows.append(Row(tuple(map(Cell, texts))))
    return Table("The whole network", titles, 1, tuple(rows))


def choice_table(build: Build) -> Table:
    """What was chosen for each block, its cost, unfused and of the runner-up."""
    unit = build.unit
    measured = any(block.measured is not None for block in build.blocks)
    titles = ["Block", "Layers", "Variant", f"Cost, {unit.name}", f"Unfused, {unit.name}", "Runner-up adds"]
    rows = []
    for number, block in enumerate(build.blocks):
        cells = [
            Cell(f"{number} {block.name}"),
            Cell("", "; ".join(f"{layer.name} {layer.size}".rstrip() for layer in block.layers)),
            Cell(block.variant, "; ".join(filter(None, (block.tile, block.origin)))),
            Cell(unit.text(block.cost)),
            _unfused(build, block),
            _runner_up(build, block),
        ]
        if measured:
            cells.append(Cell(_NOTHING if block.measured is None else unit.text(block.measured)))
        rows.append(Row(tuple(cells), block.fused))
    if measured:
        titles.append(f"Measured, {unit.name}")
    caption = "Blocks: what was chosen, and what else there was"
    widths = (11, 20, 27, 10, 11, 21)
    return Table(caption, tuple(titles), 3, (*rows, _totals(build, measured)), () if measured else widths)


def memory_table(build: Build) -> Table:
    """Bytes moved by level and kept in buffers, for each block."""
    several = len(build.levels) > 1
    titles = ("Block", "Buffers", "Bytes of buffers", *build.levels, *_if(several, "All moved"), "Activations unfused")
    rows = [
        Row(
            (
                Cell(f"{number} {block.name}"),
                Cell("", ", ".join(f"{buffer.name} {buffer.bytes:,}" for buffer in block.buffers) or _NOTHING),
                Cell(f"{block.buffer_bytes:,}"),
                *(Cell(f"{block.moved.get(level, 0):,}") for level in build.levels),
                *_if(several, Cell(f"{block.moved_bytes:,}")),
                Cell(_moved_unfused(block)),
            ),
            block.fused,
        )
        for number, block in enumerate(build.blocks)
    ]
    moved = [sum(block.moved.get(level, 0) for block in build.blocks) for level in build.levels]
    total = ["", "", *(f"{amount:,}" for amount in (*moved, *_if(several, sum(moved)))), ""]
    return Table("Blocks: bytes moved and kept", titles, 2, (*rows, Row((Cell("total"), *map(Cell, total)), True)))


def curve_table(curves: Sequence[Curve]) -> Table:
    """First and best cost of each kernel that was tuned."""
    rows = []
    for curve in curves:
        first, best = curve.first, curve.best[-1] if curve.best else None
        texts = [_NOTHING if cost is None else f"{curve.unit.text(cost)} {curve.unit.name}" for cost in (first, best)]
        gain = _NOTHING if first is None or best is None else _change(best, first)
        counts = (len(curve.trials), curve.failures)
        rows.append(Row((Cell(curve.name), *(Cell(f"{count:,}") for count in counts), *map(Cell, (*texts, gain)))))
    return Table("Kernels that were tuned", ("Kernel", "Trials", "Failed", "First", "Best", "Gain"), 1, tuple(rows))


def operator_table(operators: Sequence[Operator]) -> Table:
    """The time of each operator of a run."""
    total = sum(row.milliseconds for row in operators)
    rows = [
        Row(tuple(map(Cell, (row.name, str(row.calls), f"{row.milliseconds:.3f}", _share(row.milliseconds, total)))))
        for row in operators
    ]
    end = Row(tuple(map(Cell, ("total", "", f"{total:.3f}", ""))), True)
    return Table("Operators as measured", ("Operator", "Calls", "ms", "Share"), 1, (*rows, end))


def _if(wanted: bool, item: Item) -> tuple[Item, ...]:
    return (item,) if wanted else ()


def _change(chosen: float, other: float) -> str:
    return percent(chosen / other - 1) if other else _NOTHING


def _share(part: float, total: float) -> str:
    return f"{100 * part / total:.1f}%" if total else _NOTHING


def _unfused(build: Build, block: Block) -> Cell:
    if block.unfused is None:
        return Cell(_NOTHING)
    cost = block.cost + block.unfused.extra
    return Cell(build.unit.text(cost), f"fusing: {percent(block.cost / cost - 1)}" if cost else "")


def _runner_up(build: Build, block: Block) -> Cell:
    found = block.runner_up
    if found is None:
        return Cell(_NOTHING)
    share = f" ({percent(found.extra / found.chosen)})" if found.chosen else ""
    reach = "" if len(found.layers) == len(block.layers) else f", over {len(found.layers)} layers"
    return Cell(
        f"{build.unit.text(found.extra)}{share}", f"{signed(found.extra_moved)} bytes: {_counted(found.name)}{reach}"
    )


def _counted(name: str) -> str:
    """A sum of variants, those that follow themselves counted: ``3 x unfused + dwpw_hwc_hwc_hwc_rows``."""
    runs = ((variant, len(list(same))) for variant, same in groupby(name.split(" + ")))
    return " + ".join(f"{count} x {variant}" if count > 1 else variant for variant, count in runs)


def _moved_unfused(block: Block) -> str:
    return _NOTHING if block.unfused is None else f"{block.unfused.moved:,}"


def _totals(build: Build, measured: bool) -> Row:
    costs = sum(block.cost for block in build.blocks)
    unfused = [block.unfused.extra for block in build.blocks if block.unfused]
    known = len(unfused) == len(build.fused)
    texts = ["total", "", "", build.unit.text(costs), build.unit.text(costs + sum(unfused)) if known else _NOTHING, ""]
    if measured:
        texts.append(build.unit.text(sum(block.measured or 0 for block in build.blocks)))
    return Row(tuple(map(Cell, texts)), True)
