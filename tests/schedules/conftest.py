"""Blocks under test are small: here two threads share them all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import schedules.build


@pytest.fixture(scope="module", autouse=True)
def small_blocks_in_parallel() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedules.build, "PARALLEL_MACS", 0)
        yield
