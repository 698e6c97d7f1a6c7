"""The side that executes: layers under transformations of functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer
from bnconform.backends.runner.programs import execute as run
from bnconform.cases import casefile
from bnconform.cases.program import (
    Array,
    Program,
    Step,
    eval_shape,
    forward,
    jacfwd,
    jacrev,
    vmap,
    vmap_layers,
)
from bnconform.execution.sessions import InProcess
from bnconform.judge.judgement import judge
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config

X = np.arange(12.0).reshape(4, 3) ** 1.5
STATE = {"running_mean": np.ones(3), "running_var": np.full(3, 2.0), "num_batches_tracked": np.asarray(4)}
TWO = [STATE, {**STATE, "num_batches_tracked": np.asarray(9)}]


class Of(NumpyBackend):
    """NumPy's backend, of layers of a class of one's own."""

    def __init__(self, made: type[NumpyLayer]) -> None:
        self.made = made

    def build(self, config: Any, device: str) -> NumpyLayer:
        """A layer for two-dimensional input."""
        return self.made(config.num_features, ndim=2, param_dtype="float64")


def execute(backend: Any, *steps: Step) -> Any:
    """The trace of some calls, in double precision."""
    return run(backend, "cpu", Program(Config(ndim=2), steps).cast("float64", "float64").message())


def test_transformations() -> None:
    """Each gives its results by name, lanes joined as they were given; the layer's own statistics stay."""
    steps = (vmap([X, X[::-1]], "y"), vmap_layers([X, X * 2], TWO, "y"), jacrev(X), jacfwd(X), eval_shape(X))
    trace = execute(NumpyBackend(), *steps)
    assert trace["broken"] is None and not any(step["raised"] or step["misfit"] for step in trace["steps"])
    shapes = [{name: value.shape for name, value in step["values"].items()} for step in trace["steps"]]
    mapped = {"mapped_running_mean": (2, 3), "mapped_running_var": (2, 3), "mapped_num_batches_tracked": (2,)}
    assert shapes == [
        {"y": (8, 3)}, {"y": (8, 3), **mapped}, {"jacobian": (4, 3, 4, 3)}, {"jacobian": (4, 3, 4, 3)},
        {"abstract_y": (4, 3)},
    ]  # fmt: skip
    assert trace["steps"][1]["values"]["mapped_num_batches_tracked"].tolist() == [5, 10]
    assert [int(step["after"]["num_batches_tracked"]) for step in trace["steps"]] == [0] * 5
    alone = execute(NumpyBackend(), forward(X))["steps"][0]["values"]["y"]
    assert trace["steps"][0]["values"]["y"][:4].tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    ("step", "broken", "words"),
    [
        (vmap([X]), X, "vmap returned ys of shape (4, 3); it should have shape (1, 4, 3)"),
        (vmap_layers([X], TWO[:1]), X, "vmap_layers returned an array of shape (4, 3) and dtype float64; it should"),
        (vmap_layers([X], TWO[:1]), (X[None], []), "vmap_layers returned a list as states; it should be a list of 1"),
        (
            vmap_layers([X, X], TWO),
            (np.stack([X, X]), [{"running_mean": np.ones(3)}, {}]),
            "vmap_layers returned running_mean for 1 of 2 layers; all should show it, or none",
        ),
        (
            vmap_layers([X, X], TWO),
            (np.stack([X, X]), [{"running_mean": np.ones(3)}, {"running_mean": np.ones(3, np.float32)}]),
            "vmap_layers returned running_mean of float32 and float64; all layers should give one dtype",
        ),
        (vmap_layers([X], TWO[:1]), (X[None], [X]), "vmap_layers returned an array of shape (4, 3) and dtype float64"),
        (jacrev(X), X, "jacrev returned the Jacobian of shape (4, 3); it should have shape (4, 3, 4, 3)"),
        (jacfwd(X), None, "jacfwd returned None as the Jacobian; it should be a numpy.ndarray of shape (4, 3, 4, 3)"),
        (eval_shape(X), X.shape, "eval_shape says that y has shape 4; it has shape (4, 3)"),
        (eval_shape(X), None, "eval_shape returned None; it should return (shape, dtype), the second a name"),
        (eval_shape(X), ((4, 3), "int8"), "eval_shape says that y has dtype int8; give one of float64, float32"),
    ],
)  # fmt: skip
def test_results_that_are_none(step: Step, broken: Any, words: str) -> None:
    """What is returned in the wrong kind or shape is a misfit of that call."""

    class Broken(NumpyLayer):
        """Every transformation gives the same."""

    for name in ("vmap", "vmap_layers", "jacrev", "jacfwd", "eval_shape"):
        setattr(Broken, name, lambda self, *_, **__: broken)
    assert execute(Of(Broken), step)["steps"][0]["misfit"].startswith(words)


def test_change_of_what_was_given_is_noted() -> None:
    """A map that writes to its batches or to the states that it is given is seen."""

    class Writing(NumpyLayer):
        def vmap_layers(self, xs: Array, states: Any, *, training: bool) -> Any:
            found = super().vmap_layers(xs, states, training=training)
            xs[...] = 0
            states[1]["running_mean"][...] = 0
            return found

    trace = execute(Of(Writing), vmap_layers([X, X], TWO))
    words = [f"vmap_layers changed the array that it was given as {name}" for name in ("xs", "running_mean of layer 1")]
    assert trace["mutated"] == words


def test_a_layer_without_a_counter_is_given_none() -> None:
    """What a layer does not show is not among the states of layers like it."""
    seen: list[set[str]] = []

    class Uncounted(NumpyLayer):
        def state(self) -> Any:
            return {**super().state(), "num_batches_tracked": None}

        def vmap_layers(self, xs: Array, states: Any, *, training: bool) -> Any:
            seen.extend(set(state) for state in states)
            ys, after = super().vmap_layers(xs, states, training=training)
            return ys, [{**state, "num_batches_tracked": None} for state in after]

    trace = execute(Of(Uncounted), vmap_layers([X, X], TWO))
    assert trace["steps"][0]["values"]["mapped_num_batches_tracked"] is None
    assert seen == [{"running_mean", "running_var"}] * 2


def test_case_of_layers_is_read_as_it_was_written() -> None:
    """Lanes and states survive, and are part of what a program is."""
    steps = (vmap_layers([X, X * 2], TWO, "y", "mapped_running_mean"), vmap([X, X], "y", training=False))
    program = Program(Config(ndim=2), steps).cast("float32", "float32")
    data = casefile.to_json("BN-TRANS-VMAP-LAYERS", "case", program, "")
    assert casefile.digest(casefile.from_json(data)[2]) == casefile.digest(program)
    assert "vmap_layers(x float32 (8, 3) in 2 lanes, training)" in program.describe()
    other = Program(Config(ndim=2), (vmap_layers([X, X * 2], TWO[::-1], "y", "mapped_running_mean"), steps[1]))
    assert other.cast("float32", "float32").key != program.key


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"op": "vmap", "x": X}, "a vmap or vmap_layers step, and no other, needs lanes, from 1 on"),
        ({"op": "forward", "x": X, "lanes": 2}, "a vmap or vmap_layers step, and no other, needs lanes"),
        ({"op": "vmap", "x": X, "lanes": 3}, "x of a vmap step has 4 samples, which 3 lanes do not share"),
        ({"op": "vmap_layers", "x": X, "lanes": 2}, "a vmap_layers step, and no other, needs layers; choose from"),
        (
            {"op": "vmap_layers", "x": X, "lanes": 2, "layers": {"weight": np.ones((3, 3))}},
            r"the layers of a vmap_layers step are \(L, C\) with 2 lanes",
        ),
        ({"op": "jacrev"}, "a jacrev step needs x"),
    ],
)
def test_step_without_its_operands_is_none(given: Any, words: str) -> None:
    """It is refused where the step is made, or read from a file."""
    with pytest.raises(ValueError, match=words):
        Step(**given)


@pytest.mark.parametrize("op", ["eval_shape", "vmap"])
def test_dtype_is_held_against_that_of_a_pass(op: str) -> None:
    """What is said of y, or given by a map, in another dtype than the plain pass has is a problem of that pass."""

    class Widening(NumpyLayer):
        def eval_shape(self, x: Array, *, training: bool) -> Any:
            return x.shape, "float64"

        def vmap(self, xs: Array, *, training: bool) -> Any:
            return super().vmap(xs, training=training).astype(np.float64)

    first = eval_shape(X, "abstract_y") if op == "eval_shape" else vmap([X], "y")
    program = Program(Config(ndim=2), (first, forward(X, "y"))).cast("float32", "float32")
    found = judge(InProcess(Of(Widening), "cpu").run(program), SPECIFIED)
    assert found.problems == [(1, f"y has dtype float32 here; by {op} it has float64")]
    assert judge(InProcess(Of(NumpyLayer), "cpu").run(program), SPECIFIED).holds
