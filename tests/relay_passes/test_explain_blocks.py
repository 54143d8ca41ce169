"""One true line for every depthwise convolution: what it was fused with, or why not."""

from __future__ import annotations

import pytest
from tvm import relax

from relay_passes import FuseSeparableBlocks, explain_blocks, prefer
from tests.relay_passes.networks import Net, composites


def explain(body, **options):
    mod = Net().build((1, 4, 8, 8), body)
    reports = explain_blocks(mod, **options)
    fused = [report.composite for report in reports if report.composite]
    lifted = [str(func.attrs["Composite"]) for func in composites(FuseSeparableBlocks(**options)(mod)).values()]
    assert sorted(fused) == sorted(lifted)
    return reports


def test_fused():
    (report,) = explain(lambda net, x: net.pw(net.relu(net.dw(net.pw(x, 8), 5, strides=(2, 2))), 4))
    assert (report.function, report.conv, report.composite) == ("main", "lv1", "dwfuse.pwdwpw")
    assert str(report) == "main/lv1 (5x5 8->8 stride 2): dwfuse.pwdwpw: with lv, lv3"


def _second_user(net, x):
    mid = net.dw(x)
    return net.add(net.pw(mid, 4), net.silu(mid))


def _output(net, x):
    mid = net.dw(x)
    return [net.pw(mid, 4), mid]


def _two_readers_before(net, x):
    mid = net.pw(x, 4)
    return net.add(net.silu(mid), net.relu(net.dw(mid)))


def _computed_weight(net, x):
    weight = net.emit(relax.op.zeros((4, 1, 3, 3), "float32"))
    return net.pw(net.conv(x, 4, 3, groups=4, weight=weight), 4)


def _computed_weight_of_the_next(net, x):
    dw = net.dw(x)
    return net.pw(dw, 4, weight=net.emit(relax.op.zeros((4, 4, 1, 1), "float32")))


def _leaky_relu(net, x):
    return net.pw(net.emit(relax.op.nn.leakyrelu(net.dw(x))), 4)


def _other_layout(net, x):
    net.layout = "NHWC"
    mid = net.dw(net.emit(relax.op.reshape(x, (1, 4, 8, 8))))
    net.layout = "NCHW"
    return net.pw(mid, 4)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (_second_user, "lv reads the input x; lv has 2 users (relax.nn.conv2d, relax.nn.silu)"),
        (_output, "lv reads the input x; lv has 2 users (relax.nn.conv2d, a tuple)"),
        (_two_readers_before, "lv has 2 users (relax.nn.silu, relax.nn.conv2d); lv4 is an output"),
        (_computed_weight, "its weight is not a constant"),
        (_computed_weight_of_the_next, "lv reads the input x; lv2 follows, but its weight is not a constant"),
        (_leaky_relu, "lv reads the input x; after lv stands relax.nn.leakyrelu"),
        (
            lambda net, x: net.pw(net.squeeze_excite(net.dw(x)), 4),
            "lv reads the input x; after lv stands a squeeze-and-excite multiply",
        ),
        (
            lambda net, x: net.pw(net.add(net.dw(x), x), 4),
            "lv reads the input x; a residual add stands between lv and lv2",
        ),
        (
            lambda net, x: net.pw(net.dw(x), 4, strides=(2, 2)),
            "lv reads the input x; after lv stands lv1, a 1x1 4->4 stride 2 convolution, not pointwise",
        ),
        (
            _other_layout,
            "before lv1 stands relax.reshape; lv2 is float32 NCHW, but lv1 is float32 NHWC",
        ),
        (
            lambda net, x: net.dw(net.conv(x, 6, 3)),
            "before lv1 stands lv, a 3x3 4->6 convolution, not pointwise; lv1 is an output",
        ),
    ],
)
def test_not_fused(body, reason):
    (report,) = explain(body)
    assert (report.composite, report.reason) == (None, reason)


def _two_pairs(net, x):
    return net.pw(net.dw(net.pw(net.dw(x), 4)), 4)


def test_lost_to_an_overlapping_block():
    first, second = explain(_two_pairs, resolve=prefer("pwdwpw"))
    assert first.reason == "lost to overlapping dwfuse.pwdwpw at lv1"
    assert (second.composite, second.reason) == ("dwfuse.pwdwpw", "with lv1, lv3")


def test_left_out_by_the_rule():
    reports = explain(_two_pairs, resolve=lambda matches: matches[:1])
    assert [report.composite for report in reports] == ["dwfuse.dwpw", None]
    alone = explain(_two_pairs, resolve=lambda matches: [])
    assert alone[0].reason == "the resolve rule left out dwfuse.dwpw at lv"


def test_no_depthwise_convolution():
    assert explain(lambda net, x: net.relu(net.conv(net.pw(x, 6), 4, 3, groups=2))) == []
