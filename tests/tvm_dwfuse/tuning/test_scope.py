"""What trials are for: kernels in use count, rivals less, and what is out of reach not at all."""

from __future__ import annotations

import math

import pytest

from tests.tvm_dwfuse.conftest import separable_model
from tvm_dwfuse.api import import_model
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.tuning.scope import NetworkScope
from tvm_dwfuse.tuning.task import KernelTask

from .replay import FormulaTask, WeightedScope
from .test_tuner import SPACE, valley

X86 = CpuTarget("avx512", "znver4", lanes=16, registers=32, cores=2)


@pytest.fixture(scope="module")
def scope() -> NetworkScope:
    """Of a pointwise, a depthwise and another pointwise layer."""
    return NetworkScope([import_model(separable_model(), None)], X86)


def task_named(scope: NetworkScope, name: str) -> KernelTask:
    (task,) = (task for task in scope.tasks if task.describe().startswith(name))
    return task


def costs_of(scope: NetworkScope, default: float = 10.0, **by_name: float) -> dict[str, float]:
    """``default`` for each task but those whose description begins with a name, ``_`` for a space."""
    named = {task_named(scope, name.replace("__", " ")).key: cost for name, cost in by_name.items()}
    return {task.key: default for task in scope.tasks} | named


#: Every layer by itself.
SINGLES = ("pw__12x10__8-16", "dw__12x10__16-16", "pw__12x10__16-12")
TRIPLE = "pwdwpw_hwc_hwc_hwc_rows"


def test_tasks_are_all_kernels_that_the_network_could_be_made_of(scope: NetworkScope) -> None:
    names = {task.describe().split()[0] for task in scope.tasks}
    assert {"pw", "dw", "dwpw_hwc_hwc_hwc_rows", "pwdw_hwc_hwc_hwc_rows", TRIPLE} <= names
    keys = [task.key for task in scope.tasks]
    assert len(set(keys)) == len(keys)


def test_the_total_is_the_best_cover(scope: NetworkScope) -> None:
    assert scope.total(costs_of(scope, 10.0)) == 10.0, "the triple alone"
    assert scope.total(costs_of(scope, 10.0, **dict.fromkeys(SINGLES, 2.0))) == 6.0
    assert scope.total(costs_of(scope, 10.0, dwpw_hwc_hwc_hwc_rows=3.0, **{SINGLES[0]: 1.0})) == 4.0


def test_the_total_is_infinite_while_something_has_no_cost(scope: NetworkScope) -> None:
    assert scope.total(costs_of(scope, math.inf)) == math.inf
    assert scope.total(costs_of(scope, math.inf, **dict.fromkeys(SINGLES, 1.0))) == 3.0


def test_shares_of_what_is_in_use_of_rivals_and_of_what_is_out_of_reach(scope: NetworkScope) -> None:
    costs = costs_of(scope, 100.0, **dict.fromkeys(SINGLES, 2.0), **{TRIPLE: 6.6})
    shares = scope.shares(costs)
    assert [shares[task_named(scope, name.replace("__", " ")).key] for name in SINGLES] == [1.0] * 3
    assert 0 < shares[task_named(scope, TRIPLE).key] < 0.5
    assert shares[task_named(scope, "dwpw_hwc_hwc_hwc_rows").key] == 0


def test_a_nearer_rival_has_a_larger_share(scope: NetworkScope) -> None:
    singles = dict.fromkeys(SINGLES, 2.0)
    near, far = (
        scope.shares(costs_of(scope, 100.0, **singles, **{TRIPLE: cost}))[task_named(scope, TRIPLE).key]
        for cost in (6.1, 7.5)
    )
    assert near > far > 0


def test_a_kernel_that_is_used_twice_counts_twice() -> None:
    module = import_model(separable_model(), None)
    one, two = NetworkScope([module], X86), NetworkScope([module, module], X86)
    assert [task.key for task in one.tasks] == [task.key for task in two.tasks]
    costs = costs_of(one, 10.0)
    assert two.total(costs) == 2 * one.total(costs)


def test_networks_count_by_the_share_of_their_own_time() -> None:
    """A network that is slow as a whole does not take the trials from a fast one."""
    small, large = import_model(separable_model(pointwise_only=True), None), import_model(separable_model(), None)
    scope = NetworkScope([small, large], X86)
    costs = costs_of(scope, 10.0)
    shares = scope.shares(costs)
    gain = sum(shares[task.key] * costs[task.key] for task in scope.tasks if shares[task.key] >= 1 / 20)
    assert gain == pytest.approx(2, rel=0.6)


def test_weights_are_shares() -> None:
    one, two = (FormulaTask(SPACE, valley, name) for name in ("one", "two"))
    scope = WeightedScope({one: 1.0, two: 3.0})
    assert scope.shares({}) == {"one": 1.0, "two": 3.0}
    assert scope.total({"one": 2.0, "two": 5.0}) == 17.0
