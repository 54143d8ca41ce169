from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tvm_dwfuse import DwfuseError, threads

CHILD = """
import tvm
from tvm_dwfuse import threads
for count in {counts}:
    threads.configure(count)
    print(tvm.get_global_func("runtime.NumThreads")())
"""


def pool_sizes(counts: list[int], **environment: str) -> list[int]:
    """What TVM's pool has after each of ``counts`` is configured, in a fresh process."""
    env = {key: value for key, value in os.environ.items() if key not in ("TVM_NUM_THREADS", "OMP_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-c", CHILD.format(counts=counts)]
    result = subprocess.run(command, env={**env, **environment}, check=True, capture_output=True, text=True)
    return [int(line) for line in result.stdout.split()]


def test_number_of_threads_is_checked() -> None:
    cores = threads.available()
    assert threads.check(None) == cores
    assert threads.check(1) == 1
    for wrong in (0, -1, cores + 1):
        with pytest.raises(DwfuseError, match=f"{wrong} asked for, but this process can use 1 to {cores}"):
            threads.check(wrong)


def test_number_of_threads_elsewhere_is_not_bounded_by_this_machine() -> None:
    assert threads.check_elsewhere(None) == 1
    assert [threads.check_elsewhere(count) for count in (1, 64)] == [1, 64]
    for wrong in (0, 65):
        with pytest.raises(DwfuseError, match=f"{wrong} asked for, but code for another machine can use 1 to 64"):
            threads.check_elsewhere(wrong)


def test_pool_follows_each_network() -> None:
    cores = threads.available()
    assert pool_sizes([1, cores, 1, cores]) == [1, cores, 1, cores]


def test_a_cap_of_the_user_is_kept() -> None:
    assert pool_sizes([threads.available()], TVM_NUM_THREADS="1") == [1]
