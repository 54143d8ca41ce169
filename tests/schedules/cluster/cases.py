"""Generated layer groups: every variant, chains of other orders, single layers; any geometry, layouts and tiles."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.groups import Group
from tvm_dwfuse.tiling.chain import Tile, is_depthwise
from tvm_dwfuse.variants import VARIANTS

from .groups import chain_group

#: Orders of stages: "p" pointwise, "d" depthwise, "c" any other convolution.
ORDERS = ("p", "d", "c", "dp", "pd", "pdp", "cd", "cdp", "dpd")


def random_groups(count: int, seed: int, cores: int = 8) -> list[Group]:
    """That many groups with stages in any order."""
    draw = random.Random(seed)
    return [next(_attempts(draw, draw.choice(ORDERS), None, cores)) for _ in range(count)]


def variant_groups(count: int, seed: int, cores: int = 8) -> list[Group]:
    """That many groups of each variant."""
    draw = random.Random(seed)
    groups = []
    for variant in VARIANTS.values():
        order = variant.order.replace("dw", "d").replace("pw", "p")
        layouts = [variant.source, *[variant.mid] * (len(order) - 1), variant.sink]
        for _ in range(count):
            groups.append(next(_attempts(draw, order, layouts, cores, variant.traversal)))
    return groups


def _attempts(
    draw: random.Random, order: str, layouts: list[str] | None, cores: int, traversal: str | None = None
) -> Iterator[Group]:
    """Groups as they are drawn, those left out that have no output."""
    while True:
        height, width = draw.randint(3, 15), draw.randint(3, 13)
        stages = _stages(draw, order)
        rows, columns = height, width
        for stage in stages:
            rows, columns = stage.out_size(rows, columns) if min(rows, columns) > 0 else (0, 0)
        if min(rows, columns) < 1:
            continue
        places = layouts or [draw.choice(["hwc", "chw"]) for _ in range(len(stages) + 1)]
        tile = _tile(draw, stages, rows, traversal)
        transposes = order == "d" and places[0] == "chw" and draw.random() < 0.5
        yield chain_group(
            stages, height, width, places, tile, draw.randint(0, 999), cores=cores, dma_transposes=transposes
        )


def _stages(draw: random.Random, order: str) -> list[Conv]:
    channels = draw.randint(2, 17)
    stages = []
    for kind in order:
        stages.append(_stage(draw, kind, channels))
        channels = stages[-1].out_channels
    return stages


def _stage(draw: random.Random, kind: str, channels: int) -> Conv:
    out_channels = draw.randint(2, 17)
    if kind == "p":
        return Conv(channels, out_channels)
    if kind == "c":
        kernel = draw.choice([1, 2, 3, 5])
        padding = [draw.randint(0, kernel - 1) for _ in range(4)]
        strides = (draw.choice([1, 2]),) * 2
        return Conv(channels, out_channels, (kernel, kernel), strides, tuple(padding))
    kernel = draw.choice([3, 3, 3, 5, 7])
    shape = (kernel, draw.choice([kernel, kernel, 3]))
    stride = draw.choice([1, 1, 2])
    if draw.random() < 0.4:
        padding = [draw.randint(0, min(shape) - 1) for _ in range(4)]
    else:
        padding = [shape[0] // 2, shape[1] // 2] * 2
    return Conv(channels, channels, shape, (stride, draw.choice([stride, stride, 1])), tuple(padding), groups=channels)


def _tile(draw: random.Random, stages: list[Conv], out_rows: int, traversal: str | None) -> Tile:
    total = stages[-1].out_channels
    rows = draw.choice([out_rows, draw.randint(1, out_rows)])
    channels = total
    if traversal == "channels":
        rows, channels = out_rows, draw.randint(1, total)
    elif traversal is None and all(map(is_depthwise, stages[1:])) and draw.random() < 0.6:
        channels = draw.randint(1, total)
    weights = [stage.out_channels for stage in stages]
    if channels == total:
        weights = [
            n if is_depthwise(stage) or draw.random() < 0.5 else draw.randint(1, n)
            for stage, n in zip(stages, weights, strict=True)
        ]
    return Tile(rows, channels, tuple(weights), *(draw.random() < 0.5 for _ in range(3)))
