"""Training of many: each implementation in a process of its own, judged by one reference, as one result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bnconform.backends import registry, training
from bnconform.backends.registry import BUILTIN, BackendError, Entry
from bnconform.execution.settings import Settings
from bnconform.judge.training.bound import growth
from bnconform.judge.training.session import TrainingSession
from bnconform.judge.training.trajectory import Experiment, reference
from bnconform.judge.training.verdict import TrainingJudge
from bnconform.results.training import TrainingResult, TrainingRow, round_values

DTYPES = ("float64", "float32")
"""The dtypes in which the network is trained; half precision diverges too fast for any bound to say something."""

ALWAYS = ("documents.d2l_en", "documents.d2l_zh")
"""Layers that are trained besides the networks where nothing is asked for: those that the documents write out."""

NEVER = ("documents.d2l_zh+lenet+as_printed",)
"""Networks that are trained where they are named, or `all` is: it is known that they cannot."""

Say = Callable[[str], None]


def choose(given: Sequence[str], settings: Settings) -> tuple[list[str], dict[str, str]]:
    """What is trained, and what is left out of a default or of `all`, with the reason.

    Args:
        given: what --backend was given; nothing for every network that can run, `all` for every layer, too.

    Raises:
        BackendError: for a file that holds no backend.
    """
    wanted: list[str] = []
    left_out: dict[str, str] = {}
    every: Mapping[str, Entry] = {**training.NETWORKS, **BUILTIN}
    for key in given or [""]:
        if key in ("", "all"):
            for name in [*training.NETWORKS, *(BUILTIN if key else ALWAYS)]:
                if name in NEVER and not key:
                    continue
                reason = "" if settings.is_elsewhere(name) else registry.missing(every[name])
                if reason:
                    left_out[name] = reason
                else:
                    wanted.append(name)
        else:
            wanted.append(_resolve_name(key, settings))
    return list(dict.fromkeys(wanted)), left_out


def _resolve_name(key: str, settings: Settings) -> str:
    """What --backend names; BackendError, before anything is trained, where it is clear that it cannot be."""
    entry = training.NETWORKS.get(key) or BUILTIN.get(key)
    if entry is None:
        found = registry.complete_name(key)
        if ":" not in found and found not in registry.find_entry_points():
            near = registry.alike(key, [*training.NETWORKS, *BUILTIN])
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise BackendError(
                f"there is nothing to train that is called {key!r}{meant} (`bnconform list` shows layers)"
            )
        return found
    reason = "" if settings.is_elsewhere(key) else registry.missing(entry)
    if reason:
        raise BackendError(f"{key} cannot run: {reason}")
    return key


def train_all(
    experiment: Experiment,
    keys: Sequence[str],
    dtypes: Sequence[str],
    settings: Settings,
    *,
    device: str = "cpu",
    say: Say = lambda _: None,
    made: Callable[[int], None] = lambda _: None,
) -> TrainingResult:
    """Train each and judge it.

    Args:
        say: is told what goes on. made: is told how many steps have been made since it was told last.

    Raises:
        BackendError: where one cannot be loaded.
    """
    sessions = {key: TrainingSession(settings, key) for key in keys}
    for key, session in sessions.items():
        if key not in training.NETWORKS and (key not in BUILTIN or device != training.DEVICE):
            # A mistake is told before anything takes time.
            try:
                session.check(device)
            finally:
                session.close()
    say("the reference")
    exact = reference(experiment)
    grown = growth(experiment, exact, say=say)
    judge = TrainingJudge(experiment, grown, exact, say)
    rows: list[TrainingRow] = []
    for key, session in sessions.items():
        try:
            for dtype in dtypes:
                say(f"{key}, {dtype}")
                rows.append(_row(session, judge, key, device, dtype, made))
        finally:
            session.close()
    bounds = {dtype: _by_step(grown.bound(dtype).values) for dtype in dtypes}
    losses = _by_step({name: exact.values[name] for name in ("loss", "evaluation_loss")})
    count = experiment.batches.shape[1]
    return TrainingResult(
        experiment.source, experiment.steps, count, len(experiment.held_out), losses, bounds, tuple(rows)
    )


def _row(
    session: TrainingSession, judge: TrainingJudge, key: str, device: str, dtype: str, made: Callable[[int], None]
) -> TrainingRow:
    before = 0

    def count(done: int) -> None:
        nonlocal before
        made(done - before)
        before = done

    run = session.train(device, dtype, judge.experiment, count)
    made(judge.experiment.steps - before)
    found = judge.judge(run, dtype)
    left = found.left
    return TrainingRow(
        key, dtype, key in training.NETWORKS, found.verdict,
        {name: round_values(value) for name, value in found.ratios.items()},
        0 if left is None else left.step, () if left is None else left.quantities, found.explained, found.words,
        _versions(key, run.packages),
    )  # fmt: skip


def _versions(key: str, packages: Mapping[str, str]) -> dict[str, str]:
    """The versions of what a backend of this package needs; of another one, of NumPy."""
    names = _needs(key) or ["numpy"]
    return {name: packages[name] for name in names if name in packages}


def _needs(key: str) -> list[str]:
    entry = training.NETWORKS.get(key) or BUILTIN.get(key)
    return [] if entry is None else [registry.DISTRIBUTIONS.get(name, name) for name in entry.needs.split()]


def _by_step(values: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """The largest of each step."""
    return {name: round_values(np.max(value, axis=1).tolist()) for name, value in values.items()}


def failures(rows: Iterable[TrainingRow]) -> list[TrainingRow]:
    """The rows that fail a run."""
    return [row for row in rows if row.verdict in ("violates", "crashed")]
