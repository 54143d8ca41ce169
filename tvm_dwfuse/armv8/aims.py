"""What the kernels for ARMv8 are meant to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import geometric_mean

#: Instructions for each multiply-accumulate by layer.
PerLayer = Mapping[str, float]

#: Most instructions for each multiply-accumulate of a 3x3 forward convolution, stride 1, on 28x28 pixels or more.
FORWARD_LARGE = 0.36
LARGE_LAYERS = ("32@112", "128@56", "256@28")
POINTWISE = 0.29
#: Most instructions of one inference, in millions.
NETWORKS = {"mobilenet_v1_1.0_224": 165.0, "mobilenet_v2_1.0_224": 97.0}
#: How many times as many PyTorch executes for the gradients, by its setting.
GRADIENTS = {
    "backward_data": {"torch": 20.0, "torch-best": 4.88},
    "backward_weight": {"torch": 16.4, "torch-best": 4.88},
}
#: Most cycles of the loop of a 3x3 convolution, stride 1, as a multiple of what its multiplications take alone.
OVER_FLOOR = 1.10


@dataclass(frozen=True)
class Verdict:
    """An aim, what was found, and whether that is enough."""

    aim: str
    found: str
    met: bool

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'missed'}  {self.aim}: {self.found}"


def no_more_than(what: str, ours: PerLayer, theirs: PerLayer, peer: str) -> Verdict | None:
    """On no layer more than a peer; None when no layer was measured on both."""
    ratios = {layer: ours[layer] / theirs[layer] for layer in ours if layer in theirs}
    if not ratios:
        return None
    return _worst(f"{what}: no more instructions than {peer} on any layer", ratios, 1.0, "{:.2f} times as many, {}")


def at_most(what: str, ours: PerLayer, limit: float, layers: Sequence[str]) -> Verdict | None:
    """At most ``limit`` for each multiply-accumulate on each of the layers; None when none was measured."""
    found = {layer: ours[layer] for layer in layers if layer in ours}
    if not found:
        return None
    return _worst(f"{what}: at most {limit:g} instructions for each MAC", found, limit, "{:.3f}, {}")


def fewer(what: str, ours: PerLayer, theirs: PerLayer, peer: str, times: float) -> Verdict | None:
    """Fewer than a peer by this factor, the geometric mean over layers; None when no layer was measured on both."""
    ratios = [theirs[layer] / ours[layer] for layer in ours if layer in theirs]
    if not ratios:
        return None
    mean = geometric_mean(ratios)
    aim = f"{what}: at least {times:g} times fewer instructions than {peer}, geometric mean"
    return Verdict(aim, f"{mean:.2f} times over {len(ratios)} layers", mean >= times)


def network(name: str, millions: float) -> Verdict | None:
    """At most so many instructions; None for a network without an aim."""
    if name not in NETWORKS:
        return None
    limit = NETWORKS[name]
    return Verdict(f"{name}: at most {limit:g} M instructions", f"{millions:.1f} M", millions <= limit)


def near_floor(what: str, over_floor: Mapping[str, float], over_stores: Mapping[str, float]) -> Verdict | None:
    """The cycles of a loop by core, as multiples of its multiplications alone, and of those with its stores."""
    if not over_floor:
        return None
    percent = round(100 * (OVER_FLOOR - 1))
    aim = f"{what}: loop within {percent}% of its multiplications alone"
    verdict = _worst(aim, over_floor, OVER_FLOOR, "{:.2f}, {}")
    if verdict.met:
        return verdict
    missed = sum(value > OVER_FLOOR for value in over_stores.values())
    return replace(verdict, found=f"{verdict.found}; {missed} of them if its stores count as well")


def _worst(aim: str, values: Mapping[str, float], limit: float, form: str) -> Verdict:
    """All values at most ``limit``; tells of the largest."""
    worst = max(values, key=lambda name: values[name])
    missed = sum(value > limit for value in values.values())
    found = form.format(values[worst], worst) + (f" ({missed} of {len(values)} miss it)" if missed else "")
    return Verdict(aim, found, not missed)
