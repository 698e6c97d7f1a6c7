"""Executing programs: when the state is read, which layer is built, and what is noted of whose memory is whose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bnconform import reference, testing
from bnconform.backends.numpy_layer import Array, NumpyBackend, NumpyLayer
from bnconform.backends.runner import memory, programs
from bnconform.cases import program as described
from bnconform.cases.program import (
    SAVED,
    Program,
    backward,
    build,
    forward,
    freeze,
    hvp,
    jvp,
    load,
    masked,
    masked_backward,
    pullback,
    recomputed,
    refill,
    saved_statistics,
    vjp,
)
from bnconform.spec.config import Config

X = np.arange(12.0).reshape(4, 3)
CONFIG = Config(ndim=2, dtype="float64", param_dtype="float64")


class Noting(NumpyBackend):
    """The NumPy backend, whose layers note what they are asked; `layer` is their class."""

    def __init__(self, layer: type[NumpyLayer] = NumpyLayer) -> None:
        self.asked: list[str] = []
        self.layer = layer

    def build(self, config: Any, device: str) -> NumpyLayer:
        self.asked.append(f"build {config.momentum}")
        return self._noting(super().build(config, device))

    def build_default(self, num_features: int, device: str) -> NumpyLayer:
        self.asked.append(f"build_default {num_features}")
        return self._noting(super().build_default(num_features, device))

    def _noting(self, layer: NumpyLayer) -> NumpyLayer:
        asked = self.asked

        class Layer(self.layer):  # type: ignore[name-defined]
            def forward(self, x: Array, *, training: bool) -> Any:
                asked.append("forward")
                return super().forward(x, training=training)

            def state(self) -> Any:
                asked.append("state")
                return super().state()

            def load(self, state: Any) -> None:
                asked.append(f"load {' '.join(state)}")
                super().load(state)

        layer.__class__ = Layer
        return layer


def execute(backend: Any, *steps: Any, **how: Any) -> programs.Data:
    """The trace, as data, of a program in float64."""
    program = Program(how.pop("config", CONFIG), steps, **how).cast("float64", "float64")
    return programs.execute(backend, "cpu", program.message())


def test_watches_are_those_of_programs() -> None:
    """The side that executes knows what a program may let it watch, and nothing else."""
    assert ("", *memory.WATCHES) == described.WATCHES


def test_config_is_that_of_programs() -> None:
    """An adapter is given the fields that a program's configuration has, with the same defaults."""
    assert programs.LayerConfig.of(Config().as_dict()) == programs.LayerConfig()
    given = {name: value for name, value in vars(programs.LayerConfig()).items() if name != "_read"}
    assert given.pop("weight") and given.pop("bias")
    assert {**given, "affine": True} == Config().as_dict()


@pytest.mark.parametrize(
    ("affine", "weight", "bias"),
    [(True, True, True), (False, False, False), ("weight", True, False), ("bias", False, True)],
)
def test_weight_and_bias_are_told_apart(affine: Any, weight: bool, bias: bool) -> None:
    """An adapter is told of each; `affine` is true where there is one of them."""
    config = programs.LayerConfig.of(Config(affine=affine).as_dict())
    assert (config.weight, config.bias) == (weight, bias) == (Config(affine=affine).weight, Config(affine=affine).bias)
    assert config.affine is (weight or bias)
    assert len({config, programs.LayerConfig.of(Config(affine=affine).as_dict())}) == 1


class ReadsAffine(NumpyBackend):
    """An adapter of the older contract; `how` says when it looks."""

    def __init__(self, how: str) -> None:
        self.how = how

    def build(self, config: Any, device: str) -> Any:
        if self.how == "also at the others":
            affine = getattr(config, "weight", config.affine)
            return super().build(programs.LayerConfig(weight=affine, bias=config.bias), device)
        if self.how == "and refuses":
            raise RuntimeError(f"this layer cannot be made: {config.affine}")
        if self.how == "at once":
            return super().build(programs.LayerConfig(weight=config.affine, bias=config.affine), device)

        class Late(NumpyLayer):
            def forward(self, x: Array, *, training: bool) -> Any:
                return super().forward(x, training=training) if config.affine else x

        layer = super().build(programs.LayerConfig(), device)
        layer.__class__ = Late
        return layer


@pytest.mark.parametrize("how", ["at once", "and refuses", "late"])
@pytest.mark.parametrize("affine", ["weight", "bias"])
def test_adapter_that_reads_affine_of_one_parameter(how: str, affine: Any) -> None:
    """It is told in a word of its own that its contract is older, whatever came of it."""
    config = replace(CONFIG, affine=affine)
    trace = execute(ReadsAffine(how), forward(X, "y"), forward(X, "y"), config=config)
    assert trace["broken"]["kind"] == "contract"
    assert "read config.weight and config.bias" in trace["broken"]["text"]


@pytest.mark.parametrize("affine", ["weight", "bias"])
def test_adapter_that_also_reads_the_others(affine: Any) -> None:
    """It knows such layers, whatever else it looks at."""
    config = replace(CONFIG, affine=affine, ndim=4)
    trace = execute(ReadsAffine("also at the others"), build(affine), config=config)
    assert trace["broken"] is None and trace["before"][affine] is not None


@pytest.mark.parametrize("affine", [True, False])
def test_adapter_that_reads_affine_of_both_or_none(affine: bool) -> None:
    """It is answered as ever."""
    config = replace(CONFIG, affine=affine, ndim=4)
    trace = execute(ReadsAffine("at once"), build("weight"), config=config)
    assert trace["broken"] is None and (trace["before"]["weight"] is not None) is affine


class Recording(NumpyLayer):
    """Keeps what its pullbacks were given, and x itself; `broken` is what it returns in the place of a right answer."""

    broken: Any = None
    kept: Any = None

    def vjp(self, x: Array, *, training: bool) -> Any:
        Recording.kept = x
        return super().vjp(x, training=training) if self.broken is None else self.broken


def test_recorded_passes() -> None:
    """Each pullback is that of its pass, of another layer's too; the counter shows that none makes a pass more."""
    steps = (vjp(X), vjp(X[:3] * 2, training=False), build(), pullback(2, X[:3]), pullback(1, X), pullback(1, 2 * X))
    trace = execute(NumpyBackend(), *steps)
    assert trace["broken"] is None and not any(step["raised"] or step["misfit"] for step in trace["steps"])
    shapes = [{name: value.shape for name, value in step["values"].items()} for step in trace["steps"]]
    assert shapes[:3] == [{"y": (4, 3)}, {"y": (3, 3)}, {}]
    assert [shape["grad_x"] for shape in shapes[3:]] == [(3, 3), (4, 3), (4, 3)]
    assert (2 * trace["steps"][4]["values"]["grad_x"] == trace["steps"][5]["values"]["grad_x"]).all()
    counts = [int(step["after"]["num_batches_tracked"]) for step in trace["steps"]]
    assert counts == [1, 1, 0, 0, 0, 0]


def test_caller_refills_the_array_itself() -> None:
    """What is written to is the array that the layer was given, not a copy."""
    trace = execute(Noting(Recording), vjp(X), refill(1), pullback(1, X))
    assert trace["broken"] is None
    assert (Recording.kept == 7).all() and not (X == 7).all()
    untouched = execute(Noting(Recording), vjp(X), pullback(1, X))
    found = [each["steps"][-1]["values"]["grad_x"].tobytes() for each in (trace, untouched)]
    assert found[0] == found[1]


def test_layer_that_records_no_pass() -> None:
    """It is told in a word of its own, and nothing more is asked of it."""

    class Plain:
        def __init__(self) -> None:
            layer = NumpyLayer(3, ndim=2)
            self.forward, self.backward, self.state, self.load = layer.forward, layer.backward, layer.state, layer.load

    class Without(NumpyBackend):
        def build(self, config: Any, device: str) -> Any:
            return Plain()

    trace = execute(Without(), forward(X), vjp(X), pullback(1, X))
    assert trace["broken"] == {"kind": "ability", "text": "the layer (Plain) has no method vjp()"}
    assert len(trace["steps"]) == 1


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (X, "vjp returned an array of shape (4, 3) and dtype float64; it should return (y, pullback)"),
        ((X, X), "vjp returned a tuple of 2; it should return (y, pullback), the second a function"),
        ((X[:2], lambda g: (g, None, None)), "vjp returned y of shape (2, 3); it should have shape (4, 3)"),
        ((X, lambda g: g), "pullback returned an array of shape (4, 3) and dtype float64; it should return (grad_x,"),
        ((X, lambda g: (g[:2], None, None)), "pullback returned grad_x of shape (2, 3); it should have shape (4, 3)"),
    ],
)
def test_recorded_pass_that_is_none(broken: Any, words: str) -> None:
    """What is no recorded pass is a misfit of the call that shows it; a pullback of it is not asked."""

    class Broken(Recording):
        pass

    Broken.broken = broken
    trace = execute(Noting(Broken), vjp(X), pullback(1, X))
    first, second = trace["steps"]
    assert (first["misfit"] or second["misfit"]).startswith(words)
    assert bool(first["misfit"]) is words.startswith("vjp")
    if first["misfit"]:
        assert second["raised"] == "pullback was not asked, as recorded pass 1 gave none"


def test_derivatives() -> None:
    """Each gives its results by name; the one moves the statistics as the NumPy layer's does, the other leaves them."""
    trace = execute(NumpyBackend(), jvp(X, X[::-1]), hvp(X, X * X, X[::-1], training=False))
    assert trace["broken"] is None and not any(step["raised"] or step["misfit"] for step in trace["steps"])
    shapes = [{name: value.shape for name, value in step["values"].items()} for step in trace["steps"]]
    assert shapes == [
        {"y": (4, 3), "tangent_y": (4, 3)},
        {"hvp_x": (4, 3), "hvp_weight": (3,), "hvp_bias": (3,)},
    ]
    assert [int(step["after"]["num_batches_tracked"]) for step in trace["steps"]] == [1, 1]


@pytest.mark.parametrize(
    ("call", "broken", "words"),
    [
        ("jvp", X, "jvp returned an array of shape (4, 3) and dtype float64; it should return (y, tangent_y)"),
        ("jvp", (X, None), "jvp returned None as tangent_y; it should be a numpy.ndarray of shape (4, 3)"),
        ("jvp", (X[:2], X), "jvp returned y of shape (2, 3); it should have shape (4, 3)"),
        ("hvp", X, "hvp returned an array of shape (4, 3) and dtype float64; it should return (hvp_x, hvp_weight, hv"),
        ("hvp", (X, X, None), "hvp returned hvp_weight of shape (4, 3); it should have shape (3,)"),
    ],
)
def test_derivatives_that_are_none(call: str, broken: Any, words: str) -> None:
    """What is returned in the wrong kind or shape is a misfit of that call."""

    class Broken(NumpyLayer):
        def jvp(self, x: Array, tangent: Array, *, training: bool) -> Any:
            return broken

        def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Any:
            return broken

    step = jvp(X, X) if call == "jvp" else hvp(X, X, X)
    assert execute(Noting(Broken), step)["steps"][0]["misfit"].startswith(words)


def test_change_of_a_direction_is_noted() -> None:
    """A derivative that writes to what it is given is seen."""

    class Writing(NumpyLayer):
        def jvp(self, x: Array, tangent: Array, *, training: bool) -> Any:
            found = super().jvp(x, tangent, training=training)
            tangent[...] = 0
            return found

        def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Any:
            found = super().hvp(x, grad_output, vector, training=training)
            vector[...] = 0
            return found

    trace = execute(Noting(Writing), jvp(X, X), hvp(X, X, X))
    words = [
        f"{call} changed the array that it was given as {name}"
        for call, name in (("jvp", "tangent"), ("hvp", "vector"))
    ]
    assert trace["mutated"] == words


def test_masks() -> None:
    """Each gives its results by name; the one moves the statistics as the NumPy layer's does, the other leaves them."""
    trace = execute(NumpyBackend(), masked(X, X[:, :1] > 0), masked_backward(X, X[0] > 0, X * X))
    assert trace["broken"] is None and not any(step["raised"] or step["misfit"] for step in trace["steps"])
    shapes = [{name: value.shape for name, value in step["values"].items()} for step in trace["steps"]]
    assert shapes == [{"y": (4, 3)}, {"grad_x": (4, 3), "grad_weight": (3,), "grad_bias": (3,)}]
    assert [int(step["after"]["num_batches_tracked"]) for step in trace["steps"]] == [1, 1]


def test_recomputation() -> None:
    """It gives the gradients by name, as `backward`; the statistics move as the NumPy layer's do, in training."""
    steps = (recomputed(X, X * X), recomputed(X, X * X, training=False), backward(X, X * X, training=False))
    trace = execute(NumpyBackend(), *steps)
    assert trace["broken"] is None and not any(step["raised"] or step["misfit"] for step in trace["steps"])
    shapes = [{name: value.shape for name, value in step["values"].items()} for step in trace["steps"]]
    assert shapes == [{"grad_x": (4, 3), "grad_weight": (3,), "grad_bias": (3,)}] * 3
    assert [int(step["after"]["num_batches_tracked"]) for step in trace["steps"]] == [1, 1, 1]
    again, plain = (step["values"]["grad_x"] for step in trace["steps"][1:])
    assert again.tobytes() == plain.tobytes()


def test_what_is_saved_and_a_frozen_layer() -> None:
    """What there is beside y goes by names of its own; a frozen layer's state stays, and it has no gradients of it."""
    steps = (saved_statistics(X), freeze(), forward(X), backward(X, X), saved_statistics(X), freeze(False))
    trace = execute(NumpyBackend(), *steps)
    assert trace["broken"] is None and not any(step["raised"] or step["misfit"] for step in trace["steps"])
    values = [step["values"] for step in trace["steps"]]
    assert {name: value.shape for name, value in values[0].items()} == dict.fromkeys(SAVED, (3,))
    assert values[3]["grad_weight"] is values[3]["grad_bias"] is None
    assert values[4] == dict.fromkeys(SAVED)
    assert [int(step["after"]["num_batches_tracked"]) for step in trace["steps"]] == [1] * 6


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((1, 2), "returned a tuple of 2; it should be a dict of mean, invstd, variance"),
        ({"std": np.ones(3)}, "returned the name 'std'; choose from mean, invstd, variance"),
        ({"mean": np.ones((1, 3))}, "returned mean of shape (1, 3); it should have shape (3,)"),
        ({"mean": [1.0, 2.0, 3.0]}, "returned a list as mean"),
    ],
    ids=["tuple", "name", "shape", "list"],
)
def test_what_is_saved_and_fits_nothing(given: Any, words: str) -> None:
    """Other kinds, names and shapes are misfits; an array without elements is nothing."""

    class Giving(NumpyLayer):
        def saved_statistics(self, x: Array, *, training: bool) -> Any:
            return given if training else {"mean": np.ones(3), "invstd": np.zeros(0)}

    trace = execute(Noting(Giving), saved_statistics(X), saved_statistics(X, training=False))
    assert words in trace["steps"][0]["misfit"]
    values = trace["steps"][1]["values"]
    assert values["saved_invstd"] is values["saved_variance"] is None and values["saved_mean"].shape == (3,)


def test_recomputation_that_is_none_is_seen() -> None:
    """A step that writes to what it is given is noted, and one that gives another number of results is a misfit."""

    class Writing(NumpyLayer):
        def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Any:
            x[...] = 1
            grad_output[...] = 1
            return x, x

    trace = execute(Noting(Writing), recomputed(X, X * X))
    words = [f"recomputed changed the array that it was given as {name}" for name in ("x", "grad_output")]
    assert trace["mutated"] == words
    assert trace["steps"][0]["misfit"].startswith("recomputed returned a tuple of 2; it should return (grad_x,")


def test_change_of_a_mask_is_noted() -> None:
    """A pass that writes to its mask is seen, and one whose result does not fit is a misfit."""

    class Writing(NumpyLayer):
        def masked(self, x: Array, mask: Array, *, training: bool) -> Any:
            mask[...] = True
            return x[:2]

    trace = execute(Noting(Writing), masked(X, X > 0))
    assert trace["mutated"] == ["masked changed the array that it was given as mask"]
    assert trace["steps"][0]["misfit"] == "masked returned y of shape (2, 3); it should have shape (4, 3)"


def test_change_of_the_upstream_gradient_is_noted() -> None:
    """A pullback that writes to what it is given is seen."""

    class Writing(Recording):
        def vjp(self, x: Array, *, training: bool) -> Any:
            y, pulled = super().vjp(x, training=training)

            def pullback(grad_output: Array) -> Any:
                found = pulled(grad_output)
                grad_output[...] = 0
                return found

            return y, pullback

    trace = execute(Noting(Writing), vjp(X), pullback(1, X))
    assert trace["mutated"] == ["pullback changed the array that it was given as grad_output"]


def test_state_is_read_after_every_call() -> None:
    """As a rule, the state is read when the layer is new and after every call."""
    backend = Noting()
    trace = execute(backend, forward(X), forward(X, training=False))
    assert backend.asked == ["build 0.1", "state", "forward", "state", "forward", "state"]
    assert trace["before"]["running_mean"].tolist() == [0, 0, 0]
    assert [step["after"]["num_batches_tracked"].item() for step in trace["steps"]] == [1, 1]
    assert trace["calls"] == 6 and trace["seconds"] > 0


def test_state_is_read_at_the_end() -> None:
    """Where the program says so, the state is read once, after the last call."""
    backend = Noting()
    trace = execute(backend, forward(X), forward(X), forward(X), reads="end")
    assert backend.asked == ["build 0.1", "forward", "forward", "forward", "state"]
    assert trace["before"] == {}
    assert [step["after"] is None for step in trace["steps"]] == [True, True, False]
    assert trace["steps"][-1]["after"]["num_batches_tracked"].item() == 3
    assert trace["calls"] == 5


def test_state_is_read_where_a_counter_is_loaded() -> None:
    """Whether there is a counter to load is seen before; whatever else is loaded is not."""
    backend = Noting()
    steps = load(num_batches_tracked=5), load(weight=[1.0, 2.0, 3.0])
    trace = execute(backend, *steps, reads="end")
    assert backend.asked == ["build 0.1", "state", "load num_batches_tracked", "load weight", "state"]
    assert trace["steps"][-1]["after"]["num_batches_tracked"].item() == 5


def test_counter_that_is_not_there_is_not_loaded() -> None:
    """A layer that shows no counter is not asked to load one."""

    class Uncounted(NumpyLayer):
        def state(self) -> Any:
            return {**super().state(), "num_batches_tracked": None}

    backend = Noting(Uncounted)
    execute(backend, load(num_batches_tracked=5, running_mean=[1.0, 2.0, 3.0]))
    assert backend.asked[2] == "load running_mean"


def test_default_layer_is_built() -> None:
    """A program of the implementation's own defaults gives the channels and nothing else."""
    backend = Noting()
    x = X.reshape(4, 3, 1, 1)
    message = Program(Config(momentum=0.75), (forward(x),), default=True).cast("float32", "float32").message()
    assert message["config"] is None
    trace = programs.execute(backend, "cpu", message)
    assert backend.asked[0] == "build_default 3"
    assert trace["broken"] is None
    (step,) = trace["steps"]
    _, _, due = reference.forward(
        x, running_mean=np.zeros(3), running_var=np.ones(3), training=True, momentum=0.1, dtype="float32"
    )
    assert due.running_mean is not None and due.running_mean_bound is not None
    testing.assert_close(step["after"]["running_mean"], due.running_mean, due.running_mean_bound)


def test_new_layer_in_the_middle() -> None:
    """`build` as the first step is the new layer; later it is another one."""
    backend = Noting()
    trace = execute(backend, build(), forward(X), build())
    assert [word for word in backend.asked if word.startswith("build")] == ["build 0.1"] * 2
    counts = [step["after"]["num_batches_tracked"].item() for step in trace["steps"]]
    assert counts == [0, 1, 0]


def test_calls_go_on_after_one_that_fails() -> None:
    """A call that raises, or returns what does not fit, is noted, and the next one is made."""

    class Failing(NumpyLayer):
        def forward(self, x: Array, *, training: bool) -> Any:
            if len(x) == 1:
                raise ValueError("one value")
            return (
                super().forward(x, training=training)[:, :2] if len(x) == 2 else super().forward(x, training=training)
            )

    trace = execute(Noting(Failing), forward(X[:1]), forward(X[:2]), forward(X))
    assert [step["raised"] for step in trace["steps"]] == ["forward raised ValueError: one value", None, None]
    assert [bool(step["misfit"]) for step in trace["steps"]] == [False, True, False]
    assert [list(step["values"]) for step in trace["steps"]] == [[], [], ["y"]]
    assert trace["broken"] is None


class Interrupts(NumpyLayer):
    """A layer whose forward pass interrupts."""

    def forward(self, x: Array, *, training: bool) -> Array:
        raise KeyboardInterrupt


class Unreadable(NumpyLayer):
    """A layer whose state is no dict."""

    def state(self) -> Any:
        return [1, 2]


class NoLayer(NumpyBackend):
    """A backend that builds nothing."""

    def build(self, config: Any, device: str) -> Any:
        return None


@pytest.mark.parametrize(
    ("backend", "kind"),
    [(Noting(Interrupts), "interrupt"), (Noting(Unreadable), "misfit"), (NoLayer(), "adapter")],
    ids=["interrupt", "misfit", "adapter"],
)
def test_program_ends_where_nothing_can_be_asked(backend: Any, kind: str) -> None:
    """An interrupt, a state that is none and a layer that is none end the program, in words and of their kind."""
    trace = execute(backend, forward(X), forward(X))
    assert trace["broken"]["kind"] == kind
    assert len(trace["steps"]) == 0


def test_what_is_changed_is_noted() -> None:
    """A call that changes its input, or what lies around it, is noted."""

    class Writes(NumpyLayer):
        def forward(self, x: Array, *, training: bool) -> Array:
            y = super().forward(x, training=training)
            x[0, 0] += 1
            return y

    trace = execute(Noting(Writes), forward(X), backward(X, X))
    assert trace["mutated"] == ["forward changed the array that it was given as x"]
    assert trace["steps"][0]["misfit"] == ""


class Views(NumpyLayer):
    """A layer that returns its input."""

    def forward(self, x: Array, *, training: bool) -> Array:
        super().forward(x, training=training)
        return x


class Keeps(NumpyLayer):
    """A layer that keeps the arrays that it is given, and shows its own."""

    def load(self, state: Any) -> None:
        self.__dict__.setdefault("kept", {}).update(state)

    def state(self) -> Any:
        return {**super().state(), **self.__dict__.get("kept", {}), "more": np.array(["words"])}


def facts(backend: Any, watch: str, *steps: Any) -> list[dict[str, Any]]:
    """What a watch notes."""
    trace = execute(backend, *steps, watch=watch)
    assert trace["broken"] is None
    found: list[dict[str, Any]] = trace["facts"]
    return found


@pytest.mark.parametrize(("layer", "shared"), [(NumpyLayer, False), (Views, True)])
def test_results_that_share_memory(layer: type[NumpyLayer], shared: bool) -> None:
    """A result that is its input is noted to share it, and to change with it."""
    found = facts(Noting(layer), "results", forward(X), forward(X + 1))
    holds = {(fact["what"], fact.get("owner")): fact["holds"] for fact in found}
    assert holds[("shared", "what was given")] is not shared
    assert holds[("kept", None)] is not shared
    assert holds[("shared", "an earlier result")] and holds[("writeable", None)]


LOADED = load(running_mean=[1.5, 0.5, 2.0], weight=[1.5, 0.5, 2.0])


@pytest.mark.parametrize(("layer", "kept"), [(NumpyLayer, False), (Keeps, True)])
def test_loaded_arrays_that_are_kept(layer: type[NumpyLayer], kept: bool) -> None:
    """An array that the layer keeps shows in its state when it is overwritten."""
    (_, overwritten) = facts(Noting(layer), "loaded", LOADED, forward(X))
    same = [np.array_equal(value, overwritten["after"][name]) for name, value in overwritten["before"].items()]
    assert len(same) == 2
    assert all(same) is not kept


@pytest.mark.parametrize(("layer", "own"), [(NumpyLayer, False), (Keeps, True)])
def test_states_that_are_the_layers_own(layer: type[NumpyLayer], own: bool) -> None:
    """A state that is written to is the layer's, or a copy; what is no part of a state is left alone."""
    overwritten, *kept = facts(Noting(layer), "shown", LOADED, forward(X))
    weight = overwritten["after"]["weight"]
    assert weight.tolist() == ([7, 7, 7] if own else [1.5, 0.5, 2.0])
    assert {fact["name"] for fact in kept} <= set(described.STATE)
    assert all(isinstance(fact["array"], str) for fact in kept)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64", "longdouble"])
def test_counters_of_any_dtype_can_be_told_of(dtype: str) -> None:
    """A counter is noted with the dtype that it is shown in, and everything noted can be sent."""
    from bnconform.backends.runner.frames import encode

    class Counts(NumpyLayer):
        def state(self) -> Any:
            shown = super().state()
            return {**shown, "num_batches_tracked": np.array(shown["num_batches_tracked"], dtype)}

    program = Program(CONFIG, (forward(X),)).cast("float64", "float64")
    for watch in described.WATCHES:
        if watch == "loaded":
            continue
        trace = programs.execute(Noting(Counts), "cpu", replace(program, watch=watch).message())
        assert trace["broken"] is None
        assert watch or trace["counter"] == [str(np.dtype(dtype)), []]
        assert encode(trace)


def test_instances_that_share() -> None:
    """What one layer does to another of the same class is in the state of the other, or in what that gives."""
    shared: dict[str, Any] = {}

    class Shares(NumpyLayer):
        def load(self, state: Any) -> None:
            shared.update(state)

        def state(self) -> Any:
            return {**super().state(), **shared}

    fact, output = facts(Noting(Shares), "instances", LOADED, forward(X))
    assert output == {"what": "output", "holds": True}
    assert fact["before"]["weight"].tolist() == [1, 1, 1]
    assert fact["after"]["weight"].tolist() == [1.5, 0.5, 2.0]
    shared.clear()
    fact, _ = facts(Noting(), "instances", LOADED, forward(X))
    assert fact["before"]["weight"].tolist() == fact["after"]["weight"].tolist() == [1, 1, 1]

    class Options(NumpyLayer):
        def set(self, **options: Any) -> None:
            shared.update(options)

        def forward(self, x: Array, *, training: bool) -> Any:
            self.eps = shared.get("eps", self.eps)
            return super().forward(x, training=training)

    _, output = facts(Noting(Options), "instances", LOADED, forward(X))
    assert output == {"what": "output", "holds": False}
