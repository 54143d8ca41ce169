"""Convolutions and chains of them for the tests of tiling."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tiling.chain import Chain, Tile

#: GAP8 with memories and transfers without limit.
ROOMY = replace(GAP8, l1_bytes=1 << 30, l2_bytes=1 << 40, dma_max_bytes=1 << 30)


def pointwise(in_channels: int, out_channels: int) -> Conv:
    return Conv(in_channels, out_channels)


def depthwise(channels: int, stride: int = 1, kernel: int = 3, pad: int | None = None) -> Conv:
    around = kernel // 2 if pad is None else pad
    return Conv(channels, channels, (kernel, kernel), (stride, stride), (around,) * 4, groups=channels)


def dense(in_channels: int, out_channels: int, stride: int = 1, kernel: int = 3) -> Conv:
    return Conv(in_channels, out_channels, (kernel, kernel), (stride, stride), (kernel // 2,) * 4)


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """Chains of one to three stages, "dw" and "pw" or a convolution in turns, with any legal tile."""
    height, width = draw(st.integers(5, 14)), draw(st.integers(5, 14))
    channels = draw(st.sampled_from([3, 8, 12, 20]))
    stages: list[Conv] = []
    next_is_depthwise = draw(st.booleans())
    for position in range(draw(st.integers(1, 3))):
        if next_is_depthwise:
            kernel = draw(st.sampled_from([3, 5]))
            stages.append(depthwise(channels, draw(st.sampled_from([1, 2])), kernel, draw(st.integers(0, kernel // 2))))
        else:
            grown = draw(st.sampled_from([4, 12, 16]))
            first = position == 0 and draw(st.booleans())
            stages.append(
                dense(channels, grown, draw(st.sampled_from([1, 2]))) if first else pointwise(channels, grown)
            )
            channels = grown
        next_is_depthwise = not next_is_depthwise
    layouts = [draw(st.sampled_from(["hwc", "chw"])) for _ in range(len(stages) + 1)]
    whole = Tile(1, channels, tuple(stage.out_channels for stage in stages))
    chain = Chain(tuple(stages), height, width, tuple(layouts), whole)
    if min(size for _, size in chain.sizes) < 1 or min(size for size, _ in chain.sizes) < 1:
        return draw(chains())
    return replace(chain, tile=draw(tiles(chain)))


@st.composite
def tiles(draw: st.DrawFn, chain: Chain) -> Tile:
    """Any legal tile of a chain."""
    rows = draw(st.integers(1, chain.out_rows))
    doubles = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    if chain.can_block and draw(st.booleans()):
        channels = draw(st.integers(1, chain.tensor_channels[-1]))
        return Tile(rows, channels, (channels,) * len(chain.stages), *doubles)
    weights = tuple(
        stage.out_channels if stage.groups > 1 else draw(st.integers(1, stage.out_channels)) for stage in chain.stages
    )
    return Tile(rows, chain.tensor_channels[-1], weights, *doubles)
