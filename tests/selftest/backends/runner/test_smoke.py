"""The smoke check refuses what only an adapter can do wrong, and nothing that an implementation can."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bnconform.backends import registry
from bnconform.backends.numpy_layer import Array, NumpyBackend, NumpyLayer
from bnconform.backends.registry import BackendError
from bnconform.backends.runner.smoke import smoke
from bnconform.execution.worker_pool import WorkerPool
from bnconform.results.result import read
from bnconform.spec.formats import DTYPES
from bnconform.tests.mutants.catalogue import Mutant, all_right, every
from bnconform.tests.selftest.adapters import broken, contract
from bnconform.tests.selftest.command import ADAPTERS, bnconform

REFUSED: dict[str, str] = {
    "ForwardGivesATensor": "forward() returned a Tensor as y; make it a numpy.ndarray of shape (2, 3, 4, 5)",
    "ForwardGivesNothing": "forward() returned None as y; is a `return` missing?",
    "ForwardLeavesChannelsLast": "y of shape (2, 4, 5, 3) for x of shape (2, 3, 4, 5); channels are at axis 1: move",
    "ForwardTakesNoMode": "forward(x) cannot be called as the contract does (got an unexpected keyword argument",
    "ForwardMisspellsTheMode": "forward(x, *, train) cannot be called as the contract does",
    "ForwardMisspellsAnAttribute": "forward() raised AttributeError in contract.py, line ",
    "ForwardTakesTensors": "'numpy.ndarray' object has no attribute 'contiguous'; correct the name",
    "ForwardImportsWhatIsNotThere": "No module named 'no_such_framework'; correct the import, or install what it needs",
    "BackwardMisspellsAName": "backward() raised NameError in contract.py, line ",
    "BackwardGivesGradXAlone": "backward() returned an array of shape (2, 3, 4, 5) and dtype float64; return a tuple",
    "BackwardTakesNoGradient": "write def backward(self, x, grad_output, *, training)",
    "StateCannotBeRead": "state() raised RuntimeError: the driver is gone; without the state nothing can be judged",
    "StateGivesValues": "state() returned a list; return a dict with the keys running_mean",
    "StateMisspellsAKey": "state() returned the key 'runing_var'; the keys are running_mean, running_var, num_batches",
    "StateGivesTensors": "state() returned a Tensor as running_mean; make it a numpy.ndarray of shape (3,)",
    "StateKeepsAxesForBroadcasting": "state() returned running_mean of shape (1, 3, 1, 1); reshape it to (3,)",
    "LoadLoadsNothing": "load() loads nothing: state() shows running_mean, running_var, weight, bias as before",
    "LoadTakesKeywords": "load(**state) cannot be called as the contract does",
    "BuildGivesOneLayerTwice": "build() returned one layer twice; make a new one in each call",
    "BuildTakesNoDevice": "build(config) cannot be called as the contract does",
    "BuildMisspellsTheConfiguration": "'LayerConfig' object has no attribute 'epsilon'; correct the name",
    "BuildDefaultGivesNothing": "the layer that build_default returned (NoneType) has no method forward(); add it",
    "BuildDefaultTakesTheConfiguration": "write def build_default(self, num_features, device)",
}
"""The classes of adapters/contract.py, with what is said of them."""


def check(backend: Any, unsupported: Mapping[str, str] | None = None, *, slow: bool = False) -> None:
    """The smoke check of a backend on the CPU."""
    smoke(backend, "given", "cpu", unsupported=unsupported or {}, slow=slow)


def test_every_broken_adapter_is_listed() -> None:
    """Each adapter that breaks the contract is one of the cases below."""
    made = {
        name for name, kind in vars(contract).items() if isinstance(kind, type) and kind.__base__ is contract.Adapter
    }
    assert made == set(REFUSED)


@pytest.mark.parametrize(("name", "words"), REFUSED.items(), ids=list(REFUSED))
def test_broken_adapter_is_refused(name: str, words: str) -> None:
    """What only an adapter can do wrong is refused in one line, with what to change."""
    with pytest.raises(BackendError) as refused:
        check(getattr(contract, name)())
    assert str(refused.value).startswith("the backend given: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("arguments", [(), ("--in-process",)], ids=["own-process", "in-process"])
def test_run_is_refused(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """The run ends before anything is judged, with exit status 2, and leaves no result."""
    given = f"{ADAPTERS / 'contract.py'}:StateMisspellsAKey"
    answer = bnconform(tmp_path, "--backend", given, "--json", "result.json", *arguments)
    answer.assert_refused(given, "'runing_var'", "did you mean running_var?")
    assert not list(tmp_path.iterdir())


WRONG = [mutant for mutant in (*every().values(), *all_right()) if not hasattr(mutant, "deploy")]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_wrong_implementations_pass(dtype: str) -> None:
    """No implementation of the kill matrix is refused, however wrong: that is for the suite to say."""
    others = dict.fromkeys(DTYPES[: DTYPES.index(dtype)], "not in this test")

    def refusal(mutant: Mutant) -> str:
        try:
            check(mutant, others)
        except BackendError as problem:
            return f"{mutant.name}: {problem}"
        return ""

    assert [found for found in map(refusal, WRONG) if found] == []
    assert len(WRONG) > 400


@pytest.mark.parametrize(
    "name",
    [name for name, kind in vars(broken).items() if isinstance(kind, type) and kind.__base__ is broken.Broken],
)
def test_what_the_suite_can_tell_passes(name: str) -> None:
    """Exceptions, shapes and dtypes that an implementation may itself give are left to the suite."""
    check(getattr(broken, name)())


class _Raises(NumpyLayer):
    error: BaseException = RuntimeError("no kernel")

    def forward(self, x: Array, *, training: bool) -> Array:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"),
        TypeError("x"),
        ValueError("x"),
        KeyError("x"),
        AttributeError("x"),
        SystemExit(1),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_is_the_implementations_own(error: BaseException) -> None:
    """What a pass raises says nothing of the adapter, also where its own file raises it on purpose."""

    class Backend(NumpyBackend):
        def build(self, config: Any, device: str) -> Any:
            layer = super().build(config, device)
            layer.__class__ = type("Layer", (_Raises,), {"error": error})
            return layer

    check(Backend())


def test_nothing_in_the_place_of_a_gradient_is_left() -> None:
    """An attribute of None may be missing because the framework gave no gradient."""

    class Layer(NumpyLayer):
        def backward(self, x: Array, grad_output: Array, *, training: bool) -> Any:
            tensor = SimpleNamespace(grad=None)
            return tensor.grad.numpy(), None, None

    class Backend(NumpyBackend):
        def build(self, config: Any, device: str) -> Any:
            layer = super().build(config, device)
            layer.__class__ = Layer
            return layer

    check(Backend())


class _Counts(NumpyBackend):
    """The NumPy backend, which notes what its layers are asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def build(self, config: Any, device: str) -> Any:
        asked = self.asked
        asked.append((config.dtype, config.ndim))

        class Layer(NumpyLayer):
            def forward(self, x: Array, *, training: bool) -> Array:
                asked.append(("forward", training, x.shape, str(x.dtype)))
                return super().forward(x, training=training)

            def backward(self, x: Array, grad_output: Array, *, training: bool) -> Any:
                asked.append(("backward", training))
                return super().backward(x, grad_output, training=training)

        layer = super().build(config, device)
        layer.__class__ = Layer
        return layer


def test_what_is_unsupported_is_not_asked() -> None:
    """The check takes the first dtype and rank that there are, and no pass that is declared lacking."""
    backend = _Counts()
    check(backend, {"float64": "x", "rank_4": "x", "backward": "x", "training": "x"})
    assert backend.asked == [("float32", 2)] * 2 + [("forward", False, (6, 3), "float32")]


def test_what_compiles_is_not_run() -> None:
    """Where a first pass costs time none is made, and the signatures are looked at all the same."""
    backend = _Counts()
    check(backend, slow=True)
    assert backend.asked == [("float64", 4)] * 2
    with pytest.raises(BackendError, match="cannot be called"):
        check(contract.ForwardTakesNoMode(), slow=True)


def test_few_calls_are_made() -> None:
    """A handful: two layers, three passes."""
    backend = _Counts()
    check(backend)
    assert backend.asked == [("float64", 4)] * 2 + [
        ("forward", True, (2, 3, 4, 5), "float64"),
        ("forward", False, (2, 3, 4, 5), "float64"),
        ("backward", True),
    ]


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", registry.BUILTIN)
def test_backends_of_this_package_pass(name: str) -> None:
    """Every adapter of this package whose framework is here passes, also those that lack much."""
    reason = registry.missing(registry.BUILTIN[name])
    if reason:
        pytest.skip(reason)
    pool = WorkerPool()
    pool.describe([name], registry.group)
    assert "refused" not in pool.described[name]


@pytest.mark.parametrize(
    "body",
    ["os.kill(os.getpid(), signal.SIGKILL)", "raise KeyboardInterrupt", "os._exit(0)"],
    ids=["killed", "interrupted", "exits"],
)
def test_end_of_the_process_is_for_the_suite_to_tell(body: str, tmp_path: Path) -> None:
    """An implementation that ends its process in the smoke check is judged all the same, and has crashed."""
    (tmp_path / "adapter.py").write_text(
        "import os, signal\n"
        "from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer\n"
        "class Layer(NumpyLayer):\n"
        f" def forward(self, x, *, training):\n  {body}\n"
        "class Ends(NumpyBackend):\n"
        " name = 'ends'\n"
        " def build(self, config, device):\n"
        "  layer = super().build(config, device)\n  layer.__class__ = Layer\n  return layer\n"
    )
    options = ("--dtype", "float32", "-k", "BN-RUN-VAR-2-values", "--json", "result.json")
    answer = bnconform(tmp_path, "--backend", "adapter.py:Ends", *options)
    answer.assert_no_traceback()
    assert answer.status == 1
    assert [row.verdict for row in read(tmp_path / "result.json").rows] == ["crashed"]


def test_inputs_are_left_alone() -> None:
    """What a pass does to its input does not reach the next one."""
    seen: list[Array] = []

    class Layer(NumpyLayer):
        def forward(self, x: Array, *, training: bool) -> Array:
            seen.append(x.copy())
            x[...] = 0
            return super().forward(seen[-1], training=training)

    class Backend(NumpyBackend):
        def build(self, config: Any, device: str) -> Any:
            layer = super().build(config, device)
            layer.__class__ = Layer
            return layer

    check(Backend())
    assert np.array_equal(seen[0], seen[1])
    assert seen[0].std() > 0
