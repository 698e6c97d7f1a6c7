"""Devices besides the plain CPU: what is asked of one runs there, and a result that lies elsewhere is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bnconform.backends import registry
from bnconform.backends.onnx_runtime import assert_assigned
from bnconform.backends.runner.loading import device_name
from bnconform.backends.wrong_device import WrongDevice
from bnconform.spec.config import Config

CONFIG = Config(num_features=3, ndim=4)
X = np.random.default_rng(5).normal(size=(2, 3, 4, 5)).astype(np.float32)


def calls(layer: Any) -> list[Any]:
    """What a layer gives in every kind of call: forward passes in both modes, gradients, and its state."""
    y = layer.forward(X, training=True), layer.forward(X, training=False)
    return [*y, *layer.backward(X, X, training=True), layer.state()["running_var"]]


# tinygrad on OpenCL


@pytest.fixture
def tinygrad() -> Any:
    """The adapter; the test is skipped where tinygrad is not installed, or finds no OpenCL."""
    pytest.importorskip("tinygrad")
    found = registry.load("tinygrad")
    if "cl" not in found.devices():
        pytest.skip("there is no OpenCL here (apt-get install pocl-opencl-icd ocl-icd-libopencl1)")
    return found


@pytest.mark.parametrize("device", ["cl", "cpu"])
def test_tinygrad_runs_where_it_is_asked_to(device: str, tinygrad: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer's passes enqueue kernels of OpenCL where it is on `cl`, and none where it is on the CPU."""
    from tinygrad.runtime import ops_cl

    layer = tinygrad.build(CONFIG, device)
    ran, call = [], ops_cl.CLProgram.__call__

    def count(self: Any, *arguments: Any, **keywords: Any) -> Any:
        ran.append(self)
        return call(self, *arguments, **keywords)

    monkeypatch.setattr(ops_cl.CLProgram, "__call__", count)
    layer.load({"num_batches_tracked": np.array(7)})
    found = calls(layer)
    assert bool(ran) == (device == "cl")
    assert all(np.isfinite(value).all() for value in found)


def test_tinygrad_elsewhere(tinygrad: Any) -> None:
    """A layer that says that it is on one device, and lies on another, gives no result."""
    layer = tinygrad.build(CONFIG, "cpu")
    layer.device = "cl"
    with pytest.raises(WrongDevice, match="asked of CL, and found on CPU"):
        layer.state()


def test_tinygrad_names_its_device(tinygrad: Any) -> None:
    """OpenCL's own name and driver say what `cl` is; the CPU is called as for every backend."""
    from tinygrad import Device

    assert device_name(tinygrad, "cl") == f"{Device['CL'].device_name}, OpenCL driver {Device['CL'].driver_version}"
    assert device_name(tinygrad, "cpu") == device_name(object(), "cpu")


# Several devices of one CPU

DEVICE = "cpu:3"

SHOWN = """\
import sys
from bnconform.backends import registry
from bnconform.backends.onnx_runtime import assert_assigned
from bnconform.backends.wrong_device import WrongDevice
from bnconform.tests.selftest.backends.test_devices import CONFIG, calls
backend = registry.load(sys.argv[1])
print(backend.devices())
layer = backend.build(CONFIG, "cpu:3")
first = calls(layer)
second = calls(backend.build(CONFIG, "cpu"))
print(all((one == other).all() for one, other in zip(first, second)))
for name in ("where", "device"):
    if hasattr(layer, name):
        setattr(layer, name, getattr(backend.build(CONFIG, "cpu:1"), name))
try:
    layer.state()
except WrongDevice as error:
    print(error, error.is_refusal)
"""
"""A layer on device 3 gives the bits of one on the first, and one that lies elsewhere than it says gives nothing."""

SEVERAL = {
    "flax.nnx": ("flax", "JAX_NUM_CPU_DEVICES"),
    "flax.linen": ("flax", "JAX_NUM_CPU_DEVICES"),
    "equinox": ("equinox", "JAX_NUM_CPU_DEVICES"),
    "haiku": ("haiku", "JAX_NUM_CPU_DEVICES"),
    "keras+tensorflow": ("keras", "BNCONFORM_CPU_DEVICES"),
    "tf.fused+nhwc": ("tensorflow", "BNCONFORM_CPU_DEVICES"),
}
"""Rows, with what they need and the environment variable that makes several devices of the CPU for them."""


@pytest.mark.parametrize("name", SEVERAL)
def test_device_3_of_the_cpu(name: str) -> None:
    """Arrays lie on the device that was asked for, which gives what the first one gives."""
    module, variable = SEVERAL[name]
    pytest.importorskip(module)
    run = subprocess.run(
        [sys.executable, "-c", SHOWN, name], capture_output=True, text=True, env={**os.environ, variable: "4"}
    )
    assert run.returncode == 0, run.stderr
    offered, same, wrong = run.stdout.splitlines()
    assert offered == str(["cpu", "cpu:1", "cpu:2", "cpu:3"])
    assert same == "True"
    assert wrong.startswith("asked of cpu:1, and found on ") and wrong.endswith("False")


# ONNX Runtime's other providers


@pytest.fixture
def openvino() -> Any:
    """The adapter; the test is skipped where ONNX Runtime has no provider of OpenVINO."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    found = registry.load("onnxruntime")
    if "openvino" not in found.devices():
        pytest.skip("ONNX Runtime has no provider of OpenVINO here (the wheel onnxruntime-openvino has)")
    return found


def test_openvino_evaluates(openvino: Any) -> None:
    """The provider divides by a deviation of 2, which is exact."""
    layer = openvino.build(Config(num_features=3, ndim=4, eps=0.0), "openvino")
    layer.load({"running_var": np.full(3, 4, np.float32)})
    assert (layer.forward(X, training=False) == X / 2).all()


def test_openvino_refuses_what_it_lacks(openvino: Any) -> None:
    """Training is left to no other provider."""
    with pytest.raises(Exception, match="Training mode of BatchNormalization is not supported"):
        openvino.build(CONFIG, "openvino").forward(X, training=True)


@pytest.mark.parametrize(("ran", "right"), [("OpenVINOExecutionProvider", True), ("CPUExecutionProvider", False)])
def test_what_each_node_runs_on(ran: str, right: bool) -> None:
    """A session whose nodes run on another provider than was asked for is an error, and no refusal."""
    node = SimpleNamespace(op_type="BatchNormalization")
    part = SimpleNamespace(ep_name=ran, get_nodes=lambda: [node])
    made = SimpleNamespace(get_provider_graph_assignment_info=lambda: [part])
    if right:
        return assert_assigned(made, "OpenVINOExecutionProvider")
    with pytest.raises(WrongDevice, match="found on CPUExecutionProvider, for BatchNormalization") as raised:
        assert_assigned(made, "OpenVINOExecutionProvider")
    assert not raised.value.is_refusal
    return None
