"""Short ways to write blocks down, and strategies that generate them."""

from __future__ import annotations

from hypothesis import strategies as st

from tvm_dwfuse.blocks import ACTIVATIONS, Block, Conv, Layout
from tvm_dwfuse.variants import Variant

BIAS_RELU6 = ("bias", "relu6")

#: Fewer than any vector has lanes, more than one vector, whole vectors of 4, 8 and 16, and tails behind them.
CHANNELS = (2, 3, 5, 8, 12, 16, 19, 24, 33, 40)


def depthwise(
    channels: int,
    kernel: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    *,
    padding: tuple[int, int, int, int] | None = None,
    dilation: int = 1,
    multiplier: int = 1,
    epilogue: tuple[str, ...] = BIAS_RELU6,
) -> Conv:
    """A depthwise convolution; its padding keeps the size at stride 1 unless given as (top, left, bottom, right)."""
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    same = (kh // 2 * dilation, kw // 2 * dilation)
    return Conv(
        channels,
        channels * multiplier,
        (kh, kw),
        (stride, stride) if isinstance(stride, int) else stride,
        same + same if padding is None else padding,
        (dilation, dilation),
        channels,
        epilogue,
    )


def pointwise(in_channels: int, out_channels: int, epilogue: tuple[str, ...] = BIAS_RELU6) -> Conv:
    return Conv(in_channels, out_channels, epilogue=epilogue)


def full_conv(
    in_channels: int,
    out_channels: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    padding: tuple[int, int, int, int] | None = None,
    epilogue: tuple[str, ...] = BIAS_RELU6,
) -> Conv:
    padding = (kernel // 2,) * 4 if padding is None else padding
    return Conv(in_channels, out_channels, (kernel,) * 2, (stride,) * 2, padding, groups=groups, epilogue=epilogue)


def block_for(variant: Variant, channels: tuple[int, ...], size: tuple[int, int], batch: int = 1, **attrs) -> Block:
    """A block that ``variant`` computes: ``channels`` in and after each pointwise stage, ``attrs`` those of the
    depthwise stage.
    """
    multiplier = attrs.get("multiplier", 1)
    if variant.order == "dwpw":
        c, out = channels
        stages = (depthwise(c, **attrs), pointwise(c * multiplier, out))
    elif variant.order == "pwdw":
        c, mid = channels
        stages = (pointwise(c, mid), depthwise(mid, **attrs))
    else:
        c, mid, out = channels
        stages = (pointwise(c, mid), depthwise(mid, **attrs), pointwise(mid * multiplier, out, ("bias",)))
    return Block(stages, batch, *size, variant.in_layout)


@st.composite
def epilogues(draw: st.DrawFn, last: bool = False) -> tuple[str, ...]:
    """At most a bias, an activation and, for the last stage, a residual, in any order that a network may have."""
    steps = ["bias"] if draw(st.booleans()) else []
    steps += draw(st.sampled_from([[], *([name] for name in ACTIVATIONS)]))
    if last and draw(st.booleans()):
        steps.insert(draw(st.integers(0, len(steps))), "add")
    return tuple(steps)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, tuple[int, ...]]:
    """Kernel, strides, dilation and padding of a convolution; the padding is asymmetric half of the time."""
    kernel = draw(st.sampled_from([(3, 3), (5, 5), (7, 7), (3, 5), (1, 3)]))
    strides = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (1, 2)]))
    dilation = draw(st.sampled_from([(1, 1), (2, 2), (1, 2)]))
    most = [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    same = (*most, *most)
    padding = same if draw(st.booleans()) else tuple(draw(st.integers(0, extent)) for extent in same)
    return {"kernel": kernel, "strides": strides, "dilation": dilation, "padding": padding}


@st.composite
def sized(draw: st.DrawFn, stages: tuple[Conv, ...], layout: Layout, prologue: tuple[str, ...] = ()) -> Block:
    """A block of these stages, at most 17 pixels beyond the smallest input that has an output; batch 1 to 3."""
    sizes = []
    for axis in (0, 1):
        needed = max(
            conv.dilation[axis] * (conv.kernel[axis] - 1) + 1 - conv.padding[axis] - conv.padding[axis + 2]
            for conv in stages
        )
        sizes.append(draw(st.integers(max(1, needed), max(1, needed) + 17)))
    return Block(stages, draw(st.integers(1, 3)), *sizes, layout, prologue=prologue)


@st.composite
def separable_blocks(draw: st.DrawFn, variant: Variant) -> Block:
    """Blocks that ``variant`` computes."""
    channels = st.sampled_from(CHANNELS)
    c, mid, out = draw(channels), draw(channels), draw(channels)
    multiplier = draw(st.sampled_from([1, 1, 2]))
    dw_in = c if variant.order == "dwpw" else mid
    ends_in_dw = variant.order == "pwdw"
    dw = Conv(dw_in, dw_in * multiplier, groups=dw_in, epilogue=draw(epilogues(last=ends_in_dw)), **draw(windows()))
    to_dw = Conv(c, dw_in, epilogue=draw(epilogues()))
    from_dw = Conv(dw.out_channels, out, epilogue=draw(epilogues(last=True)))
    stages = {"dwpw": (dw, from_dw), "pwdw": (to_dw, dw), "pwdwpw": (to_dw, dw, from_dw)}[variant.order]
    return draw(sized(stages, variant.in_layout))


@st.composite
def single_blocks(draw: st.DrawFn, kind: str) -> Block:
    """Blocks of one stage: ``"dw"``, ``"pw"``, ``"conv"`` or ``"grouped"``."""
    channels = st.sampled_from(CHANNELS)
    steps = draw(epilogues(last=True))
    prologue: tuple[str, ...] = ()
    if kind == "dw":
        c = draw(channels)
        conv = Conv(c, c * draw(st.sampled_from([1, 1, 2])), groups=c, epilogue=steps, **draw(windows()))
    elif kind == "pw":
        conv = Conv(draw(channels), draw(channels), epilogue=steps)
        prologue = draw(st.sampled_from([(), ("scale",)]))
    elif kind == "conv":
        conv = Conv(draw(st.sampled_from([1, 3, 8])), draw(channels), epilogue=steps, **draw(windows()))
    else:
        groups = draw(st.integers(2, 4))
        inside, outside = draw(st.sampled_from([2, 3, 8])), draw(st.sampled_from([1, 5, 16, 20]))
        conv = Conv(groups * inside, groups * outside, groups=groups, epilogue=steps, **draw(windows()))
    return draw(sized((conv,), draw(st.sampled_from(["NHWC", "NCHW"])), prologue))
