"""What only the side that holds the arrays can see: memory formats, gradient histories, layers before their input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer
from bnconform.backends.runner import memory, programs
from bnconform.cases.program import Program, Step, backward, forward, load
from bnconform.execution.trace import from_data
from bnconform.spec.config import Config

X = np.arange(48.0).reshape(2, 3, 2, 4)
CONFIG = Config(dtype="float64", param_dtype="float64")


class Made(NumpyBackend):
    """The NumPy backend with layers of another class."""

    def __init__(self, layer: type[NumpyLayer]) -> None:
        self.layer = layer

    def build(self, config: Any, device: str) -> Any:
        layer = super().build(config, device)
        layer.__class__ = self.layer
        return layer


def facts(watch: str, backend: Any, *steps: Step) -> list[dict[str, Any]]:
    """What a watch notes, as the side that judges reads it."""
    program = Program(CONFIG, steps, watch=watch).cast("float64", "float64")
    return from_data(program, programs.execute(backend, "cpu", program.message())).facts


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (X, "contiguous"),
        (np.moveaxis(np.ascontiguousarray(np.moveaxis(X, 1, -1)), -1, 1), "channels_last"),
        (np.asfortranarray(X), "other"),
        (X[:, ::-1], "other"),
    ],
    ids=["contiguous", "channels-last", "fortran", "reversed"],
)
def test_format_of(values: Any, found: str) -> None:
    """Formats are told apart by strides alone."""
    assert memory.format_of(values) == found


def test_formats_of_results() -> None:
    """Each result of a forward and a backward pass is named; a layer that does not keep strides says nothing."""

    class Tidy(NumpyLayer):
        keeps_strides = False

    steps = forward(X, layout="channels_last"), backward(X, X)
    shown = [(fact["step"], fact["name"], fact["format"]) for fact in facts("formats", NumpyBackend(), *steps)]
    assert shown == [(0, "y", "contiguous"), (1, "grad_x", "contiguous")]
    assert [fact["what"] for fact in facts("formats", Made(Tidy), *steps)] == ["none"]


def test_history_is_what_the_layer_says() -> None:
    """Of each statistic after each call; a layer that cannot say says nothing."""

    class Recording(NumpyLayer):
        def gradient_history(self) -> list[str]:
            return ["running_var"]

    shown = facts("history", Made(Recording), forward(X))
    assert [(fact["name"], fact["holds"]) for fact in shown] == [("running_mean", True), ("running_var", False)]
    assert [fact["what"] for fact in facts("history", NumpyBackend(), forward(X))] == ["none"]


def test_history_of_a_torch_layer() -> None:
    """A module that blends its statistics without leaving automatic differentiation is seen to."""
    torch = pytest.importorskip("torch")
    from bnconform.backends.torch_layers import TorchLayer

    module = torch.nn.BatchNorm2d(3)
    layer = TorchLayer(module, "cpu")
    layer.backward(X.astype(np.float32), X.astype(np.float32), training=True)
    assert layer.gradient_history() == []
    module.running_mean = module.running_mean + module.weight
    assert layer.gradient_history() == ["running_mean"]


def test_layer_before_its_first_input() -> None:
    """Each thing is asked of a layer of its own; a backend without such layers says nothing."""

    class Lazy(NumpyBackend):
        def build_lazy(self, config: Any, device: str) -> Any:
            layer = self.build(config, device)
            layer.__class__ = Waiting
            return layer

    class Waiting(NumpyLayer):
        seen = False

        def forward(self, x: Any, *, training: bool) -> Any:
            self.seen = True
            return super().forward(x, training=training)

        def state(self) -> Any:
            if not self.seen:
                raise ValueError("no input yet")
            return super().state()

    steps = load(running_mean=np.ones(3)), forward(X, training=False)
    shown = {fact["name"]: fact["says"] for fact in facts("lazy", Lazy(), *steps)}
    whole = "has running_mean, running_var, num_batches_tracked, weight, bias"
    assert shown == {"state": "refused", "load": "refused", "evaluation": whole}
    assert [fact["what"] for fact in facts("lazy", NumpyBackend(), *steps)] == ["none"]


@pytest.mark.parametrize(("keeps", "holds"), [(False, True), (True, False)])
def test_counter_is_copied(keeps: bool, holds: bool) -> None:
    """A layer whose counter is the array that it was loaded from is seen to follow it."""

    class Keeping(NumpyLayer):
        def load(self, state: Any) -> None:
            super().load(state)
            if keeps:
                self.entries["num_batches_tracked"] = state["num_batches_tracked"]

    shown = facts("loaded", Made(Keeping), load(running_mean=np.ones(3), num_batches_tracked=np.array(5)), forward(X))
    counters = {fact["name"]: fact["holds"] for fact in shown if fact["what"] == "counter"}
    assert counters == {memory.THE_ARRAY: True, memory.THE_LAYER: holds}
