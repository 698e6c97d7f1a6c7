"""The adapters keep their contract: what comes before any question of conformance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnconform.backends import registry, torch_compiled
from bnconform.backends.not_compiled import NotCompiled
from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer
from bnconform.backends.runner.layouts import LAYOUTS, Array
from bnconform.backends.torch_compiled import CALLS, CompiledLayer, TorchCompiled
from bnconform.backends.torch_functional import TorchFunctional
from bnconform.backends.torch_layers import STATE, TorchLayer, TorchNN
from bnconform.backends.torch_tensors import to_array, to_device, to_tensor
from bnconform.cases.covering.values import repeat_shared
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES, numpy_dtype, parameter_dtype

TORCH = ("torch.nn", "torch.functional", "torch.nn+lazy", "torch.nn+channels_last", "torch.nn+compile")
QUICK = ("numpy", *TORCH[:-1])
SHAPE = (4, 3, 2, 5)


def backend(name: str) -> Any:
    """The backend; the test is skipped where PyTorch is needed and not installed."""
    if name in TORCH:
        pytest.importorskip("torch")
    return registry.load(name)


def values(shape: tuple[int, ...] = SHAPE, dtype: str = "float32", seed: int = 5) -> Array:
    """Random values with a spread and an offset of their own in each channel."""
    rng = np.random.default_rng(seed)
    channel = np.arange(1, shape[1] + 1).reshape(1, -1, *(1,) * (len(shape) - 2))
    return np.asarray(rng.normal(size=shape) * channel + 10 * channel).astype(numpy_dtype(dtype))


def show(layer: NumpyLayer, name: str) -> Array:
    """An entry of the state that is there."""
    value = layer.state()[name]
    assert value is not None
    return value


# Arrays on their way in and out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_are_kept(layout: str, dtype: str) -> None:
    """A tensor has the strides and the memory of its array, unless a stride is negative."""
    pytest.importorskip("torch")
    array = LAYOUTS[layout](repeat_shared(np.broadcast_to(values((1, *SHAPE[1:]), dtype), SHAPE), layout))
    tensor = to_tensor(array, "cpu")
    strides = tuple(stride // array.itemsize for stride in array.strides)
    assert to_array(tensor).tobytes() == array.tobytes()
    assert str(tensor.dtype) == f"torch.{dtype}"
    if layout.startswith("reversed"):
        assert tensor.stride() == tuple(abs(stride) for stride in strides)
        assert tensor.data_ptr() != array.ctypes.data
    else:
        assert tensor.stride() == strides
        assert tensor.data_ptr() == array.ctypes.data


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if not layout.startswith("reversed")])
def test_strides_are_kept_on_the_way_to_a_device(layout: str) -> None:
    """A copy for another device has the strides of the original and shares none of its memory."""
    pytest.importorskip("torch")
    tensor = to_tensor(LAYOUTS[layout](repeat_shared(np.broadcast_to(values((1, *SHAPE[1:])), SHAPE), layout)), "cpu")
    copy = to_device(tensor, "cpu")
    assert copy.stride() == tensor.stride()
    assert copy.data_ptr() != tensor.data_ptr()
    assert to_array(copy).tobytes() == to_array(tensor).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_read_only_array_is_taken(dtype: str) -> None:
    """A read-only array goes in without a warning."""
    pytest.importorskip("torch")
    array = values(dtype=dtype)
    array.flags.writeable = False
    assert to_array(to_tensor(array, "cpu")).tobytes() == array.tobytes()


@pytest.mark.parametrize("grad_layout", ["contiguous", "fortran", "every_other_element", "slice_with_offset"])
@pytest.mark.parametrize("layout", ["contiguous", "fortran", "every_other_element", "slice_with_offset"])
def test_strides_reach_the_layer(layout: str, grad_layout: str) -> None:
    """The layer itself sees x, and its backward pass grad_output, with the strides of the arrays."""
    pytest.importorskip("torch")
    layer = TorchNN().build(Config(), "cpu")
    seen = []

    def watch(module: Any, inputs: Any, output: Any) -> None:
        seen.append(inputs[0].stride())
        output.register_hook(lambda gradient: seen.append(gradient.stride()))

    layer.module.register_forward_hook(watch)
    x, grad_output = LAYOUTS[layout](values()), LAYOUTS[grad_layout](values(seed=6))
    layer.backward(x, grad_output, training=True)
    assert seen == [tuple(stride // 4 for stride in array.strides) for array in (x, grad_output)]


def test_channels_last_reaches_the_layer() -> None:
    """The channels-last row gives its layer channels-last x and grad_output."""
    torch = pytest.importorskip("torch")
    layer = backend("torch.nn+channels_last").build(Config(), "cpu")
    seen = []

    def watch(module: Any, inputs: Any, output: Any) -> None:
        seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
        output.register_hook(lambda gradient: seen.append(gradient.is_contiguous(memory_format=torch.channels_last)))

    layer.module.register_forward_hook(watch)
    layer.backward(values(), values(seed=6), training=True)
    assert seen == [True, True]


# State


@pytest.mark.parametrize("name", [*QUICK, "torch.nn+compile"])
def test_the_state_has_every_key(name: str) -> None:
    """Each state names all entries, as copies; the counter is a 0-d int64 array, or absent in the function."""
    layer = backend(name).build(Config(), "cpu")
    state = layer.state()
    assert tuple(sorted(state)) == tuple(sorted(STATE))
    counter = state["num_batches_tracked"]
    assert (counter is None) == (name == "torch.functional")
    assert counter is None or (counter.shape == () and counter.dtype == np.int64)
    state["weight"] += 1
    assert layer.state()["weight"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", [*QUICK, "torch.nn+compile"])
def test_what_a_layer_lacks_is_absent(name: str) -> None:
    """Without parameters and statistics every entry is None, and loading one is an error."""
    layer = backend(name).build(Config(affine=False, track_running_stats=False), "cpu")
    assert set(layer.state().values()) == {None}
    with pytest.raises((ValueError, RuntimeError), match="weight"):
        layer.load({"weight": np.ones(3, np.float32)})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*QUICK, "torch.nn+compile"])
def test_loading_copies(name: str, dtype: str) -> None:
    """What is loaded is shown, in the parameters' dtype, and later changes to the array do not reach the layer."""
    kind = numpy_dtype(parameter_dtype(dtype))
    layer = backend(name).build(Config(dtype=dtype, param_dtype=parameter_dtype(dtype)), "cpu")
    given = np.array([0.5, -2.0, 3.0], kind)
    layer.load({"weight": given, "running_mean": given, "running_var": None})
    given += 1
    state = layer.state()
    assert state["weight"].tolist() == state["running_mean"].tolist() == [0.5, -2.0, 3.0]
    assert state["running_var"].tolist() == [1, 1, 1]
    assert state["weight"].dtype == kind


@pytest.mark.parametrize("name", QUICK)
def test_results_are_arrays_of_their_own(name: str) -> None:
    """No result shares memory with an input or with the result of another call."""
    layer = backend(name).build(Config(), "cpu")
    x, grad_output = values(), values(seed=6)
    results = [layer.forward(x, training=False), layer.forward(x, training=False)]
    results += layer.backward(x, grad_output, training=False)
    arrays = [x, grad_output, *results]
    shared = [(a, b) for a in range(len(arrays)) for b in range(a) if np.shares_memory(arrays[a], arrays[b])]
    assert not shared


@pytest.mark.parametrize("ndim", [2, 3, 4, 5])
def test_a_lazy_layer_is_as_new(ndim: int) -> None:
    """Showing a lazy layer its first input leaves the state of a new layer of the right size."""
    layer = backend("torch.nn+lazy").build(Config(num_features=7, ndim=ndim), "cpu")
    assert type(layer.module).__name__ == f"BatchNorm{max(ndim - 2, 1)}d"
    state = layer.state()
    assert state["num_batches_tracked"] == 0
    assert state["running_mean"].tolist() == [0] * 7
    assert state["running_var"].tolist() == [1] * 7


# What is unsupported


@pytest.mark.parametrize(
    ("name", "config", "feature"),
    [
        ("torch.functional", Config(momentum=None), "momentum_none"),
        ("torch.nn+compile", Config(momentum=None), "momentum_none"),
        ("torch.nn+channels_last", Config(ndim=2), "rank_2"),
        ("torch.nn+channels_last", Config(ndim=3), "rank_3"),
    ],
)
def test_what_is_unsupported_is_not_built(name: str, config: Config, feature: str) -> None:
    """Each declared feature is one that a configuration can ask for, and asking for it raises the declared reason."""
    subject = backend(name)
    assert feature in config.features()
    with pytest.raises(NotImplementedError) as refusal:
        subject.build(config, "cpu")
    assert str(refusal.value) == subject.unsupported[feature]


def test_a_device_without_float64_refuses_it() -> None:
    """Where the device has no float64, asking for it is NotImplementedError, before anything is allocated."""
    pytest.importorskip("torch")
    config = Config(dtype="float64", param_dtype="float64")
    with pytest.raises(NotImplementedError, match="no float64"):
        TorchNN().build(config, "mps")
    with pytest.raises(NotImplementedError, match="no float64"):
        TorchFunctional().build(config, "mps")


# The compiled row


def compile_layer(**changes: Any) -> CompiledLayer:
    """A compiled layer; the test is skipped where PyTorch is not installed."""
    pytest.importorskip("torch")
    return TorchCompiled().build(Config(**changes), "cpu")


def test_compiled_code_is_counted() -> None:
    """Each forward and each backward pass goes through compiled code, and is counted there once."""
    layer = compile_layer()
    forward, backward = CALLS.forward, CALLS.backward
    layer.forward(values(), training=True)
    assert (CALLS.forward - forward, CALLS.backward - backward) == (1, 0)
    layer.backward(values(), values(seed=6), training=True)
    assert (CALLS.forward - forward, CALLS.backward - backward) == (2, 1)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_eager_code_is_noticed(training: bool) -> None:
    """Where torch.compile runs the layer eagerly, without an error of its own, the adapter raises."""
    torch = pytest.importorskip("torch")
    layer = compile_layer()
    with torch.compiler.set_stance("force_eager"):
        with pytest.raises(NotCompiled, match="forward"):
            layer.forward(values(), training=training)
        with pytest.raises(NotCompiled, match="forward"):
            layer.backward(values(), values(seed=6), training=training)


def test_an_eager_backward_pass_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backward pass that autograd runs without compiled code raises, whatever the forward pass did."""
    layer = compile_layer()
    monkeypatch.setattr(layer, "call", lambda x, training: TorchLayer.call(layer, x, training))
    with pytest.raises(NotCompiled, match="backward"):
        layer.backward(values(), values(seed=6), training=True)


def test_a_graph_without_the_normalization_does_not_count() -> None:
    """Compiled code around a layer that itself runs eagerly is not taken for the layer."""
    torch = pytest.importorskip("torch")
    layer = compile_layer()
    graphs, forward = CALLS.graphs, CALLS.forward
    layer.compiled = torch.compile(lambda x: x + 1, backend=torch_compiled.compile_counted)
    with pytest.raises(NotCompiled, match="forward"):
        layer.forward(values(), training=True)
    assert (CALLS.graphs - graphs, CALLS.forward - forward) == (1, 0)


def test_momentum_none_is_still_run_eagerly() -> None:
    """The declared reason holds: torch.compile runs the whole layer eagerly where momentum is None."""
    torch = pytest.importorskip("torch")
    layer = compile_layer()
    layer.module = torch.nn.BatchNorm2d(3, momentum=None)
    layer.compiled = torch.compile(layer.module, backend=torch_compiled.compile_counted)
    with pytest.raises(NotCompiled, match="forward"):
        layer.forward(values(), training=True)


def test_layers_of_one_configuration_share_compiled_code() -> None:
    """A second layer of the same configuration is not compiled again."""
    compile_layer().forward(values(), training=True)
    graphs = CALLS.graphs
    compile_layer().forward(values(seed=7), training=True)
    assert CALLS.graphs == graphs


def test_a_layer_outlives_the_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """When enough graphs have gathered they are dropped, and a layer from before is compiled again."""
    older = compile_layer()
    monkeypatch.setattr(CALLS, "graphs", torch_compiled.GRAPHS_KEPT)
    compile_layer()
    assert CALLS.graphs == 0
    older.forward(values(), training=True)
    assert CALLS.graphs == 1


# The hand-written layer


@pytest.mark.parametrize(
    ("shape", "training", "tracked", "says"),
    [
        ((4, 5, 2, 5), True, True, "5 channels"),
        ((4, 5, 2, 5), False, True, "5 channels"),
        ((4, 3), True, True, "rank 2"),
        ((3,), False, True, "rank 1"),
        ((1, 3, 1, 1), True, True, "one value per channel"),
        ((1, 3, 1, 1), False, False, "one value per channel"),
    ],
)
def test_numpy_refuses(shape: tuple[int, ...], training: bool, tracked: bool, says: str) -> None:
    """Input that has no answer is refused in words, by both passes, and the state stays as it was."""
    layer = NumpyBackend().build(Config(track_running_stats=tracked), "cpu")
    before = layer.state()
    x = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match=says):
        layer.forward(x, training=training)
    with pytest.raises(ValueError, match=says):
        layer.backward(x, x, training=training)
    after = layer.state()
    assert [str(after[name]) for name in STATE] == [str(before[name]) for name in STATE]


def test_numpy_refuses_a_gradient_of_another_shape() -> None:
    """A grad_output that does not fit x is refused rather than broadcast."""
    with pytest.raises(ValueError, match="must agree"):
        NumpyLayer(3).backward(values(), values((1, 3, 1, 1)), training=True)


def test_numpy_loads_all_or_nothing() -> None:
    """A load with one entry that does not fit sets none of them."""
    layer = NumpyLayer(3)
    with pytest.raises(ValueError, match="shape"):
        layer.load({"weight": np.full(3, 5.0), "bias": np.zeros(4)})
    assert show(layer, "weight").tolist() == [1, 1, 1]


@pytest.mark.parametrize("device", ["cuda:0", "mps"])
def test_numpy_has_the_cpu_alone(device: str) -> None:
    """Another device is refused."""
    with pytest.raises(ValueError, match="only 'cpu'"):
        NumpyBackend().build(Config(), device)
    with pytest.raises(ValueError, match="only 'cpu'"):
        NumpyBackend().build_default(3, device)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30], ids=["nan", "infinity", "overflow"])
def test_numpy_does_not_warn(value: float) -> None:
    """NaN, infinity and overflow show in the results of their channel: in no other channel, and in no warning."""
    x, grad_output = values(), values(seed=6)
    spoilt = x.copy()
    spoilt[1, 1, 0, 2] = value
    clean, layer = NumpyLayer(3), NumpyLayer(3)
    expected, got = clean.forward(x, training=True), layer.forward(spoilt, training=True)
    others = [0, 2]
    assert got[:, others].tobytes() == expected[:, others].tobytes()
    variance = show(layer, "running_var")
    assert variance[others].tolist() == show(clean, "running_var")[others].tolist()
    assert not np.isfinite(variance[1])
    grad_x, grad_weight, _ = layer.backward(spoilt, grad_output, training=True)
    clean_x, clean_weight, _ = clean.backward(x, grad_output, training=True)
    assert grad_weight is not None
    assert clean_weight is not None
    assert grad_x[:, others].tobytes() == clean_x[:, others].tobytes()
    assert grad_weight[others].tolist() == clean_weight[others].tolist()
