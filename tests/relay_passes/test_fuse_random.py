"""Random chains of layers compute the same before and after both fusing passes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from relay_passes import FuseConvolutions, FuseSeparableBlocks, composite_block, composite_operands
from tests.relay_passes.networks import ACTIVATIONS, Net, composites, operators, run

layers = st.lists(
    st.one_of(
        st.tuples(st.just("pw"), st.integers(1, 6)),
        st.tuples(st.just("dw"), st.sampled_from([(3, 1, 1), (3, 2, 1), (5, 1, 2), (3, 1, 2)])),
        st.tuples(st.just("step"), st.sampled_from(["bias", "squeeze_excite", "residual", "fork", *ACTIVATIONS])),
    ),
    min_size=4,
    max_size=12,
)


def _chain(steps):
    def body(net, x):
        seen, outputs = [x], []
        for kind, how in steps:
            if kind == "pw":
                x = net.pw(x, how)
            elif kind == "dw" and net.channels(x) > 1:
                kernel, stride, multiplier = how
                x = net.dw(x, kernel, multiplier, strides=(stride, stride))
            elif how == "residual":
                same = [other for other in seen[:-1] if other.ty == x.ty]
                x = net.add(x, same[-1]) if same else x
            elif how == "fork":
                outputs.append(x)
            elif kind == "step":
                x = getattr(net, how)(x)
            seen.append(x)
        return [x, *outputs]

    return body


@settings(max_examples=10, deadline=None)
@given(layers, st.sampled_from(["NCHW", "NHWC"]), st.integers(1, 2))
def test_random_chains(steps, layout, batch):
    net = Net(layout)
    shape = (batch, 3, 7, 6)
    before = net.build(shape, _chain(steps))
    after = FuseConvolutions()(FuseSeparableBlocks()(before))
    relax.analysis.well_formed(after)
    assert "relax.nn.conv2d" not in operators(after)
    for composite in composites(after).values():
        assert list(composite_operands(composite)) == composite_block(composite).operands()
    x = np.random.default_rng(0).normal(size=net.arrange(shape)).astype("float32")
    for got, want in zip(run(after, x), run(before, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(want).max())))
