"""Trains a small depthwise-separable network on scikit-learn's digits: 1,797 images of 8x8 pixels, ten classes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from tvm import relax
from tvm.relax.training import Trainer
from tvm.relax.training.loss import CrossEntropyLoss
from tvm.relax.training.optimizer import MomentumSGD

from tvm_dwfuse.errors import DwfuseError

from .separable import SeparableBlock, initial_parameters, separable_backbone
from .trainer import build_trainer

CLASSES = 10
IMAGE = (1, 8, 8)
HELD_OUT = 360

STEM = 32
BLOCKS = (SeparableBlock(64, kernel=5), SeparableBlock(64, kernel=5, stride=2), SeparableBlock(64, kernel=3))

#: Two runs that differ in rounding alone agree within this part of the first epoch's loss. Training amplifies what
#: is 1e-7 at first: inputs of a ReLU that are almost 0 fall on its other side.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Samples:
    """Images (N, 1, 8, 8), float32 of mean 0 and variance 1, and their labels (N,), int64."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """How to train. ``seed`` decides on the initial parameters and the order of the images."""

    epochs: int = 20
    batch: int = 32
    learning_rate: float = 0.004
    momentum: float = 0.9
    threads: int = 1
    depthwise: bool = True
    seed: int = 0


@dataclass
class Run:
    """What a training run came to.

    ``losses`` are the mean losses of the epochs, ``seconds`` the time spent in training steps, compilation left out,
    and ``accuracy`` is the part of the held-out images told right, once training is over.
    """

    recipe: Recipe
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    accuracy: float = 0.0


def load_samples(seed: int = 0) -> tuple[Samples, Samples]:
    """The digits to train on, and 360 held out, both shuffled.

    Raises:
        DwfuseError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DwfuseError("training on digits needs scikit-learn: pip install 'tvm-dwfuse[train]'") from error
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.data))
    images = (digits.data[order] - digits.data.mean()) / digits.data.std()
    images = images.astype(np.float32).reshape(-1, *IMAGE)
    labels = digits.target[order].astype(np.int64)
    return Samples(images[HELD_OUT:], labels[HELD_OUT:]), Samples(images[:HELD_OUT], labels[:HELD_OUT])


def train(
    recipe: Recipe, training: Samples, held_out: Samples, on_epoch: Callable[[Sequence[Run]], None] = lambda runs: None
) -> Run:
    """Train from scratch. Images that fill no batch at the end of an epoch are left out of it.

    Args:
        recipe: how.
        training: what to learn from.
        held_out: what to measure the accuracy on.
        on_epoch: called after each epoch with the run so far, in a list.

    Raises:
        DwfuseError: there are fewer images than one batch takes, or fewer cores than threads.
    """
    (run,) = _train([recipe], training, held_out, on_epoch)
    return run


def compare(
    recipe: Recipe, training: Samples, held_out: Samples, on_epoch: Callable[[Sequence[Run]], None] = lambda runs: None
) -> tuple[Run, Run]:
    """Train twice, with our depthwise kernels and with what TVM makes of those convolutions; otherwise as ``train``.

    The two take turns epoch by epoch, so that both see the same machine.
    """
    recipes = [replace(recipe, depthwise=depthwise) for depthwise in (True, False)]
    ours, theirs = _train(recipes, training, held_out, on_epoch)
    return ours, theirs


def disagreement(run: Run, other: Run) -> float:
    """The largest difference between the losses of two runs in an epoch, as part of the first epoch's loss."""
    differences = np.abs(np.subtract(run.losses, other.losses))
    return float(differences.max() / other.losses[0])


def _train(
    recipes: list[Recipe], training: Samples, held_out: Samples, on_epoch: Callable[[Sequence[Run]], None]
) -> list[Run]:
    attempts = [_Attempt(recipe, training) for recipe in recipes]
    runs = [attempt.run for attempt in attempts]
    for _ in range(recipes[0].epochs):
        for attempt in attempts:
            attempt.train_epoch()
        on_epoch(runs)
    for attempt in attempts:
        attempt.run.accuracy = attempt.accuracy(held_out)
    return runs


class _Attempt:
    """One run under way."""

    def __init__(self, recipe: Recipe, training: Samples) -> None:
        if recipe.batch > len(training.labels):
            raise DwfuseError(f"batch: {recipe.batch} images asked for, but there are only {len(training.labels)}")
        self.run = Run(recipe)
        self._samples = training
        self._order = np.random.default_rng(recipe.seed)
        self._trainer = _build(recipe)

    def train_epoch(self) -> None:
        batch, count = self.run.recipe.batch, len(self._samples.labels)
        batches = self._order.permutation(count)[: count // batch * batch].reshape(-1, batch)
        start = time.perf_counter()
        losses = [self._step(at) for at in batches]
        self.run.seconds += time.perf_counter() - start
        self.run.losses.append(float(np.mean(losses)))

    def accuracy(self, samples: Samples) -> float:
        batch, images = self.run.recipe.batch, samples.images
        filling = np.zeros((-len(images) % batch, *IMAGE), np.float32)
        parts = np.concatenate([images, filling]).reshape(-1, batch, *IMAGE)
        logits = np.concatenate([self._trainer.predict(part).numpy() for part in parts])
        return float(np.mean(logits[: len(images)].argmax(axis=1) == samples.labels))

    def _step(self, at: np.ndarray) -> float:
        return float(self._trainer.update(self._samples.images[at], self._samples.labels[at]).numpy())


def _build(recipe: Recipe) -> Trainer:
    backbone = separable_backbone(recipe.batch, IMAGE, STEM, BLOCKS, CLASSES)
    types = [relax.TensorType((recipe.batch, CLASSES), "float32"), relax.TensorType((recipe.batch,), "int64")]
    optimizer = MomentumSGD(recipe.learning_rate, recipe.momentum, nesterov=True)
    trainer = build_trainer(
        backbone, CrossEntropyLoss("mean"), optimizer, types, threads=recipe.threads, depthwise=recipe.depthwise
    )
    trainer.load_params(initial_parameters(backbone, recipe.seed))
    return trainer
