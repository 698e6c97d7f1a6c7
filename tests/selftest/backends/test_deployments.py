"""The adapters of tools that deploy models: each takes models through its tool and predicts what these do."""

from __future__ import annotations

import numpy as np
import pytest

from bnconform.backends import registry
from bnconform.backends.runner import deployments
from bnconform.cases.models.rows import every, network
from bnconform.cases.models.tables import table
from bnconform.execution.deployment_trace import DeploymentRequest, deployment_trace
from bnconform.judge.deployments import LOWER, NOTHING, Admitted, compare, truth
from bnconform.spec.formats import numpy_dtype

LINEAR = next(
    number
    for number, row in enumerate(table())
    if (row["layer"], row["mode"], row["tracking"]) == ("linear_rank_2", "evaluation", "yes")
    and row["reader"] == row["shared"] == "none"
)
MODELS = (0, LINEAR)
"""A strided, padded convolution of two groups, whose BatchNorm has another reader; and a linear layer."""

PATIENT = {
    "torch.compile", "torch.compile+freezing", "torch.onnx.dynamo+onnxruntime", "torch.export+decompositions",
    "keras+xla", "keras.export", "flax.nnx+jit", "torchao.prepare_pt2e",
    "executorch", "executorch+xnnpack", "torch.onnx+iree",
}  # fmt: skip
"""Tools that take long to start: the suite asks them, these tests do not."""


REFUSING = {"torch.utils.mkldnn"}
"""Tools that refuse both models: oneDNN's tensors are not reshaped, and know no BatchNorm over (N, C)."""


def available(name: str) -> bool:
    """Whether a tool can run here."""
    return not registry.missing(registry.DEPLOYMENTS[name])


@pytest.mark.parametrize("name", [name for name in registry.DEPLOYMENTS if name not in PATIENT | REFUSING])
def test_a_tool_predicts(name: str) -> None:
    """Each of the two models within its bound, or a refusal, and not of both; one of a tool that is slow to start."""
    if not available(name):
        pytest.skip(registry.missing(registry.DEPLOYMENTS[name]))
    adapter = registry.load(name)
    answered = 0
    for number in MODELS[: 1 if getattr(adapter, "slow_to_start", False) else 2]:
        case = next(one for one in every() if one.number == number)
        shown = network(number, "float32")
        x = case.inputs("float32")[0]
        request = DeploymentRequest(shown, case.example("float32"), (x, x[:1]))
        trace = deployment_trace(request, deployments.deploy(adapter, "cpu", request.message()))
        if trace.refused:
            continue
        answered += 1
        single = adapter.deviations.get("epsilon_value") == "single_precision"
        admitted = Admitted(single, getattr(adapter, LOWER, {}).get("float32", ""))
        found = compare(trace.predictions[0], truth(shown, len(x), False, admitted))
        assert found.worst <= 1, found.problem
        assert not trace.changed and not trace.mutated
    assert answered


def test_the_names_are_those_of_the_adapters() -> None:
    """What --backend takes is what the row is called; nothing of a framework is imported for it."""
    for name in registry.DEPLOYMENTS:
        assert registry.adapter_class(name).name == name


@pytest.mark.parametrize("name", ["keras.call", "flax.nnx.eval"])
def test_layouts_agree(name: str) -> None:
    """Channels last inside, at axis 1 outside: what is flattened or reshaped keeps its order in the model."""
    if not available(name):
        pytest.skip(registry.missing(registry.DEPLOYMENTS[name]))
    adapter = registry.load(name)
    asked = 0
    for after in ("flatten_linear", "reshape", "padded_average"):
        numbers = (
            number for number, row in enumerate(table())
            if row["after"] == after and row["layer"] == "convolution_2d" and row["tracking"] == "yes"
            and row["mode"] == "evaluation" and "1" in (row["stride"], row["dilation"])
        )  # fmt: skip
        number = next(numbers, None)
        if number is None:
            continue
        case = next(one for one in every() if one.number == number)
        shown, x = case.graph("float32"), case.inputs("float32")[0]
        request = DeploymentRequest(shown, case.example("float32"), (x,))
        trace = deployment_trace(request, deployments.deploy(adapter, "cpu", request.message()))
        assert not trace.refused, trace.refused
        found = compare(trace.predictions[0], truth(shown, len(x), False, NOTHING))
        assert found.worst <= 1, (after, found.problem)
        asked += 1
    assert asked >= 2 and np.dtype(numpy_dtype("float32")) == x.dtype
