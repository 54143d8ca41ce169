from __future__ import annotations

from itertools import product

import pytest

from tvm_dwfuse.bench.depthwise_limits import Limits, inner_macs, moved_bytes
from tvm_dwfuse.kernels.depthwise import Depthwise

CONV = Depthwise(2, 7, 6, (3, 5), (2, 1), (1, 2, 0, 3), dilation=(2, 1), multiplier=3, batch=2)


def test_products_with_padding_do_not_count() -> None:
    count = 0
    for p, q, i, j in product(*map(range, (*CONV.out_size, *CONV.kernel))):
        count += 0 <= 2 * p + 2 * i - 1 < CONV.height and 0 <= q + j - 2 < CONV.width
    assert inner_macs(CONV) == count * CONV.out_channels * CONV.batch < CONV.macs


def test_bytes_of_three_tensors() -> None:
    out_h, out_w = CONV.out_size
    assert moved_bytes(CONV) == 4 * (2 * 2 * 7 * 6 + 2 * 6 * out_h * out_w + 6 * 15)


def test_the_scarcer_resource_limits() -> None:
    copies = ((1_000, 1e9), (100_000, 1e7))
    assert Limits(1, 1e6, copies).least_ms(CONV) == pytest.approx(1e3 * inner_macs(CONV) / 1e6)
    slow = Limits(1, 1e15, copies)
    assert slow.bytes_per_second(10_000) == pytest.approx(1e8)
    assert slow.bytes_per_second(10) == pytest.approx(1e9)
    assert slow.least_ms(CONV) == pytest.approx(1e3 * moved_bytes(CONV) / slow.bytes_per_second(moved_bytes(CONV)))
