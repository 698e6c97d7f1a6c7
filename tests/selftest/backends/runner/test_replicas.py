"""What replicas of a layer show, on the side that executes: shards of rows, results of all, and what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnconform.backends.numpy_layer import Array, NumpyBackend
from bnconform.backends.runner import programs, replicas
from bnconform.cases.program import (
    Program,
    Step,
    masked_replicated,
    masked_replicated_vjp,
    replicated,
    replicated_vjp,
)
from bnconform.spec import shards as described
from bnconform.spec.config import Config
from bnconform.tests.mutants.replicas import ReplicatedLayer

CONFIG = Config(ndim=3, dtype="float64", param_dtype="float64")
SHARDS = [np.arange(24.0).reshape(2, 3, 4), np.arange(6.0).reshape(1, 3, 2) - 3]
GRADIENTS = [shard + 1 for shard in SHARDS]


class Of(NumpyBackend):
    """An adapter whose layers are of a class."""

    def __init__(self, layer: type[ReplicatedLayer] = ReplicatedLayer) -> None:
        self.layer = layer

    def build(self, config: Any, device: str) -> Any:
        return self.layer(CONFIG)


def execute(step: Step, layer: type[ReplicatedLayer] = ReplicatedLayer) -> Any:
    """What one call shows."""
    return programs.execute(Of(layer), "cpu", Program(CONFIG, (step,)).message())


def test_shards_are_those_that_were_described() -> None:
    """Both sides take rows apart, and put them together, alike."""
    shapes = described.shapes_of(SHARDS)
    rows = described.join(SHARDS)
    assert all(np.array_equal(*pair) for pair in zip(replicas.split(rows, shapes), SHARDS, strict=True))
    assert np.array_equal(replicas.join(SHARDS, rows), rows)


def test_replicas_show_everything() -> None:
    """The outputs as rows, and of each replica its statistics and counter; the gradients likewise."""
    seen = execute(replicated(SHARDS))["steps"][0]
    assert {name: value.shape for name, value in seen["values"].items()} == {
        "y": (10, 3, 1), "replica_running_mean": (2, 3), "replica_running_var": (2, 3),
        "replica_num_batches_tracked": (2,),
    }  # fmt: skip
    assert int(seen["after"]["num_batches_tracked"]) == 0
    seen = execute(replicated_vjp(SHARDS, GRADIENTS))["steps"][0]
    assert {name: value.shape for name, value in seen["values"].items()} == {
        "grad_x": (10, 3, 1), "replica_grad_weight": (2, 3), "replica_grad_bias": (2, 3),
    }  # fmt: skip


def test_layers_are_given_shards() -> None:
    """Each replica is given its own, of its shape, contiguous."""
    given: list[Array] = []

    class Noting(ReplicatedLayer):
        def replicated(self, xs: Any, *, training: bool) -> Any:
            given.extend(xs)
            return super().replicated(xs, training=training)

    execute(replicated(SHARDS), Noting)
    assert all(np.array_equal(*pair) for pair in zip(given, SHARDS, strict=True))
    assert all(one.flags.c_contiguous for one in given)


def test_layers_are_given_masks() -> None:
    """Each replica is given its own, (N_i, 1, *S_i), beside its shard, and shows what it shows without."""
    masks = [shard[:, :1] > 2 for shard in SHARDS]
    given: list[Array] = []

    class Noting(ReplicatedLayer):
        def masked_replicated(self, xs: Any, masks: Any, *, training: bool) -> Any:
            given.extend(masks)
            return super().replicated(xs, training=training)

        def masked_replicated_vjp(self, xs: Any, masks: Any, grad_outputs: Any, *, training: bool) -> Any:
            given.extend(masks)
            return super().replicated_vjp(xs, grad_outputs, training=training)

    pairs = (
        (masked_replicated(SHARDS, masks), replicated(SHARDS)),
        (masked_replicated_vjp(SHARDS, masks, GRADIENTS), replicated_vjp(SHARDS, GRADIENTS)),
    )
    for step, plain in pairs:
        found, due = (execute(one, Noting)["steps"][0]["values"] for one in (step, plain))
        assert {name: value.tobytes() for name, value in found.items()} == {
            name: value.tobytes() for name, value in due.items()
        }
    assert all(np.array_equal(*pair) for pair in zip(given, masks * 2, strict=True))
    assert all(one.flags.c_contiguous and one.dtype == bool for one in given)


def test_masks_that_are_written_to_are_noted() -> None:
    """The bytes of masks are compared around the call, too."""

    class Writing(ReplicatedLayer):
        def masked_replicated(self, xs: Any, masks: Any, *, training: bool) -> Any:
            masks[1][...] = True
            return super().replicated(xs, training=training)

    step = masked_replicated(SHARDS, [np.zeros((2, 1, 4), bool), np.zeros((1, 1, 2), bool)])
    words = "masked_replicated changed the array that it was given as mask of replica 1"
    assert execute(step, Writing)["mutated"] == [words]


def test_layer_without_replicas_lacks_an_ability() -> None:
    """It is no fault, and the program ends there."""
    for step, name in ((replicated(SHARDS), "replicated"), (replicated_vjp(SHARDS, GRADIENTS), "replicated_vjp")):
        trace = programs.execute(NumpyBackend(), "cpu", Program(CONFIG, (step,)).message())
        assert trace["broken"] == {"kind": "ability", "text": f"the layer (NumpyLayer) has no method {name}()"}


Y = [shard * 1 for shard in SHARDS]
STATE: dict[str, Any] = {"running_mean": np.zeros(3), "running_var": np.ones(3), "num_batches_tracked": np.asarray(1)}
NONE: dict[str, Any] = dict.fromkeys(STATE)
MISFITS = {
    "an array": (Y[0], "replicated returned an array of shape (2, 3, 4) and dtype float64; it should return a list of"),
    "one too few": ([(Y[0], STATE)], "replicated returned a list; it should return a list of 2, one a replica"),
    "no pair": ([Y[0], Y[1]], "replicated returned an array of shape (2, 3, 4) and dtype float64 for a replica; it"),
    "another shape": (
        [(Y[0], STATE), (Y[0], STATE)],
        "replicated returned y of replica 1 of shape (2, 3, 4); it should have shape (1, 3, 2)",
    ),
    "no state": (
        [(Y[0], STATE), (Y[1], None)],
        "replicated returned None as the state of a replica; it should be a dict with the keys running_mean",
    ),
    "of two dtypes": (
        [(Y[0], STATE), (Y[1].astype(np.float32), STATE)],
        "replicated returned y of float32 and float64; all replicas should give one dtype",
    ),
    "statistics of some": (
        [(Y[0], STATE), (Y[1], NONE)],
        "replicated returned running_mean for 1 of 2 replicas; all should show it, or none",
    ),
    "half a counter": (
        [(Y[0], {**STATE, "num_batches_tracked": 0.5}), (Y[1], STATE)],
        "replicated returned a float as num_batches_tracked; it should be one whole number, or None",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit(case: str) -> None:
    """What is returned in the wrong kind, number or shape is a misfit of that call."""
    returned, words = MISFITS[case]

    class Broken(ReplicatedLayer):
        def replicated(self, xs: Any, *, training: bool) -> Any:
            return returned

    assert execute(replicated(SHARDS), Broken)["steps"][0]["misfit"].startswith(words)


def test_gradients_that_do_not_fit() -> None:
    """The same of gradients."""

    class Broken(ReplicatedLayer):
        def replicated_vjp(self, xs: Any, grad_outputs: Any, *, training: bool) -> Any:
            return [(xs[0], None, None), (xs[1], xs[1], None)]

    step = execute(replicated_vjp(SHARDS, GRADIENTS), Broken)["steps"][0]
    assert step["misfit"] == "replicated_vjp returned grad_weight of shape (1, 3, 2); it should have shape (3,)"


def test_replicas_that_show_no_statistics() -> None:
    """Where none of them has any, there are none."""

    class Without(ReplicatedLayer):
        def replicated(self, xs: Any, *, training: bool) -> Any:
            return [(y, NONE) for y, _ in super().replicated(xs, training=training)]

    values = execute(replicated(SHARDS), Without)["steps"][0]["values"]
    assert [name for name, value in values.items() if value is None] == [f"replica_{name}" for name in replicas.STATE]


def test_change_of_a_shard_is_noted() -> None:
    """Replicas that write to what they are given are seen."""

    class Writing(ReplicatedLayer):
        def replicated(self, xs: Any, *, training: bool) -> Any:
            found = super().replicated(xs, training=training)
            xs[1][...] = 0
            return found

        def replicated_vjp(self, xs: Any, grad_outputs: Any, *, training: bool) -> Any:
            found = super().replicated_vjp(xs, grad_outputs, training=training)
            grad_outputs[0][...] = 0
            return found

    words = "replicated changed the array that it was given as x of replica 1"
    assert execute(replicated(SHARDS), Writing)["mutated"] == [words]
    words = "replicated_vjp changed the array that it was given as grad_output of replica 0"
    assert execute(replicated_vjp(SHARDS, GRADIENTS), Writing)["mutated"] == [words]
