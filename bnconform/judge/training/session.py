"""A process in which one implementation trains the network, and what it showed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnconform.backends.registry import BackendError
from bnconform.backends.runner.lenet import CHANNELS
from bnconform.execution.printable import printable
from bnconform.execution.settings import Settings
from bnconform.execution.worker import Died, Worker
from bnconform.judge.training.norms import EPSILON, MOMENTUM
from bnconform.judge.training.trajectory import Experiment, Trajectory, gather

AT_ONCE = 5
"""Steps that are asked for at once."""


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """What came of one training.

    Attributes:
        trajectory: of the steps that were made, or None where there is not one.
        refused: why it did not go on, "" where it did. lacks: whether the backend says that it lacks something.
        deviations, packages: what the backend declares; versions by distribution.
    """

    trajectory: Trajectory | None
    refused: str = ""
    lacks: bool = False
    deviations: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)


class TrainingRefused(Exception):
    """The other side could not go on; the message says why."""

    def __init__(self, text: str, *, lacks: bool = False) -> None:
        super().__init__(text)
        self.lacks = lacks


@dataclass
class TrainingSession:
    """One backend, or a framework's network, in a process of its own; another one where it died.

    Attributes:
        key: what --backend was given.
    """

    settings: Settings
    key: str
    _worker: Worker | None = field(default=None, init=False)

    def train(
        self, device: str, dtype: str, experiment: Experiment, say: Callable[[int], None] = lambda _: None
    ) -> TrainingRun:
        """Let it train.

        Args:
            say: is told how many steps are made.

        Raises:
            BackendError: where it cannot be loaded; CannotStart, which is one, for an interpreter that is not there.
        """
        seen: list[dict[str, Any]] = []
        opened: Mapping[str, Any] = {}
        refused, lacks = "", False
        try:
            if self._worker is None:
                self._worker = Worker(self.settings, self.key)
            where = {"key": self.key, "device": device, "dtype": dtype}
            opened = self._ask({"what": "open", **where, **_message(experiment)})
            while len(seen) < experiment.steps:
                count = min(AT_ONCE, experiment.steps - len(seen))
                seen += _read(self._ask({"what": "steps", "count": count}).get("steps"), count)
                say(len(seen))
        except Died as problem:
            self.close()
            refused = str(problem)
        except TrainingRefused as problem:
            refused, lacks = str(problem), problem.lacks
        return TrainingRun(
            gather(seen) if seen else None, refused, lacks, _words(opened, "deviations"), _words(opened, "packages")
        )

    def check(self, device: str) -> None:
        """Raise BackendError where it cannot be loaded, or has no such device."""
        try:
            if self._worker is None:
                self._worker = Worker(self.settings, self.key)
            self._ask({"what": "check", "key": self.key, "device": device})
        except (Died, TrainingRefused) as problem:
            raise BackendError(f"the backend {self.key} cannot be loaded: {problem}") from None

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._worker is not None
        self._worker.ask({"do": "train", **request})
        reply = self._worker.reply()
        told = reply.get("trained")
        if not isinstance(told, dict):
            raise TrainingRefused(printable(reply.get("internal", "no answer")))
        if "refused" in told:
            if told.get("unusable") is True:
                raise BackendError(printable(told["refused"]))
            raise TrainingRefused(printable(told["refused"]), lacks=told.get("lacks") is True)
        return told


def _message(experiment: Experiment) -> dict[str, Any]:
    return {
        "experiment": {
            "weights": dict(experiment.weights), "images": experiment.images.astype(np.float32),
            "labels": experiment.labels, "batches": experiment.batches, "held_out": experiment.held_out,
            "rate": experiment.rate, "eps": EPSILON, "momentum": MOMENTUM,
        }
    }  # fmt: skip


def _read(steps: Any, count: int) -> list[dict[str, Any]]:
    """The steps that came, each whole; TrainingRefused where they are no steps."""
    try:
        found: list[dict[str, Any]] = [
            {
                "loss": float(step["loss"]), "evaluation_loss": float(step["evaluation_loss"]),
                "statistics": [(np.ravel(mean), np.ravel(var)) for mean, var in step["statistics"]],
            }
            for step in steps
        ]  # fmt: skip
        sizes = [[len(part) for pair in step["statistics"] for part in pair] for step in found]
    except (KeyError, TypeError, ValueError) as problem:
        raise TrainingRefused(f"what it sent is no step: {printable(problem)}") from None
    if len(found) != count or any(size != [n for n in CHANNELS for _ in range(2)] for size in sizes):
        raise TrainingRefused("it sent statistics of another shape, or another number of steps, than was asked for")
    return found


def _words(told: Mapping[str, Any], name: str) -> dict[str, str]:
    value = told.get(name, {})
    return {printable(key): printable(held) for key, held in value.items()} if isinstance(value, dict) else {}
