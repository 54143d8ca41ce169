from __future__ import annotations

import pytest
from tvm import relax

from relay_passes import find_depthwise
from tests.relay_passes.training_graphs import training_graph
from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.training.dilated_gradient import register_dilated_gradient


@pytest.mark.parametrize(
    "conv",
    [
        Depthwise(2, 10, 10, padding=(2, 2, 2, 2), dilation=(2, 2)),  # TVM alone refuses it
        Depthwise(3, 9, 9, (2, 2), (3, 3), dilation=(2, 2)),  # TVM alone gives a gradient of 10x10 pixels
        Depthwise(2, 9, 8, (3, 1), (2, 2), (1, 0, 1, 0), (1, 4)),
        Depthwise(2, 9, 8, stride=(2, 2), padding=(1, 1, 1, 1)),
    ],
    ids=str,
)
def test_gradients_have_the_shapes_of_what_they_are_for(conv: Depthwise) -> None:
    register_dilated_gradient()
    register_dilated_gradient()
    adjoint = training_graph(conv)["main_adjoint"]
    shapes = [tuple(map(int, part.shape)) for part in adjoint.ret_ty.fields[1].fields]
    assert shapes == [conv.input_shape, conv.weight_shape]
    assert {match.conv for match in find_depthwise(adjoint)} == {conv}
    assert relax.analysis.check_well_formed(training_graph(conv))
