"""Depthwise kernels for vectors of other lengths than this machine's, and for Arm under qemu."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedules.depthwise import build_depthwise
from tests.armv8.tools import needs_qemu
from tests.depthwise_reference import OUTPUTS, random_operands
from tests.schedules.depthwise_kernels import check, check_values, fill, random_geometries
from tvm_dwfuse.armv8.counting import count_kernel
from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure
from tvm_dwfuse.targets import get_cpu, host_target

LAYOUTS: tuple[Layout, ...] = ("NCHW", "NHWC")

ARM_GEOMETRIES = {
    "3x3 stride 2, odd": Depthwise(7, 13, 11, stride=(2, 2), padding=(1, 1, 1, 1), batch=2),
    "5x3, multiplier": Depthwise(3, 8, 10, (5, 3), padding=(2, 1, 2, 1), multiplier=2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("lanes", "registers"), [(4, 16), (4, 32), (8, 16), (16, 32)])
def test_any_vector_length(lanes: int, registers: int, layout: Layout) -> None:
    """Each has a geometry of its own, for all three procedures."""
    (conv,) = random_geometries(seed=lanes + registers, count=1, layouts=[layout])
    target = replace(host_target(), lanes=lanes, registers=registers)
    for procedure in PROCEDURES:
        check(procedure, conv, bias=procedure != "backward_data", target=target)


@needs_qemu
@pytest.mark.parametrize("procedure", PROCEDURES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ARM_GEOMETRIES)
def test_on_arm(name: str, layout: Layout, procedure: Procedure) -> None:
    conv, machine = replace(ARM_GEOMETRIES[name], layout=layout), get_cpu("cortex-a72")
    bias = procedure != "backward_data"
    operands = random_operands(procedure, conv, bias)
    arrays = fill(operands, procedure, conv, bias)
    names = [operand for operand in arrays if operand in OUTPUTS[procedure]]
    function = build_depthwise(procedure, conv, machine, bias=bias)
    results = count_kernel(function, list(arrays.values()), machine, outputs=len(names)).outputs
    check_values(procedure, conv, operands, dict(zip(names, results, strict=True)))
