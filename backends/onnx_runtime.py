"""ONNX Runtime's BatchNormalization, at the opsets where its definition changed, with one thread.

See `onnx_models` for the conventions. Making a session takes a millisecond. The default optimisation does nothing to a
node in evaluation that stands alone, but folds it into a convolution before it, which is the row `+fused`; and it makes
equal constants one.

The device `openvino` is the provider of the wheel onnxruntime-openvino, on the CPU: its own kernels, of evaluation. A
session of another provider than the CPU's is told to leave nothing to that one, and is asked what each node runs on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from bnconform.backends.onnx_models import (
    BEFORE_14,
    DOCUMENTED,
    TRAINING,
    UNSUPPORTED,
    Array,
    ModelKey,
    OnnxLayer,
    Run,
    SavingOnnxLayer,
    model,
    node_of,
)
from bnconform.backends.wrong_device import WrongDevice

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
CHOSEN: Mapping[str, Mapping[str, str]] = {"openvino": {"device_type": "CPU"}}
"""Which of its own devices a provider is told to take, where it numbers none."""

OPENVINO = "OpenVINO: 'Training mode of BatchNormalization is not supported'"


class NotFused(RuntimeError):
    """The normalisation was not folded into the convolution before it."""

    is_refusal = False


def session(made: bytes, device: str, optimised: bool = True) -> Any:
    """An onnxruntime.InferenceSession on this device and no other; NotImplementedError where it does not run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; warnings are of constants that nobody uses
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    kind, _, index = device.partition(":")
    if kind != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    provider = (PROVIDERS[kind], {"device_id": index} if index else dict(CHOSEN.get(kind, {})))
    found = onnxruntime.InferenceSession(made, options, providers=[provider])
    if found.get_providers()[0] != PROVIDERS[kind]:
        raise NotImplementedError(f"{PROVIDERS[kind]} does not run here")
    if kind != "cpu":
        assert_assigned(found, PROVIDERS[kind])
    return found


def assert_assigned(made: Any, provider: str) -> None:
    """WrongDevice unless every node of a session runs on the provider.

    Older versions do not tell; what the provider does not run they refuse, as there is nothing to fall back to.
    """
    told = getattr(made, "get_provider_graph_assignment_info", tuple)
    for part in told():
        if part.ep_name != provider:
            raise WrongDevice(provider, f"{part.ep_name}, for {', '.join(node.op_type for node in part.get_nodes())}")


@cache
def share(node: ModelKey, device: str, optimised: bool) -> Run:
    """A node without constants, ready to run; one session serves every layer."""
    return partial(session(model(node, {}), device, optimised).run, None)


class OnnxRuntime:
    """The operator's present definition, with ONNX Runtime's default optimisation."""

    name = "onnxruntime"
    opset = 15
    optimised = True
    layer: type[OnnxLayer] = OnnxLayer
    deviations: Mapping[str, str] = TRAINING
    documented: Mapping[str, str] = DOCUMENTED
    unsupported: Mapping[str, str] = {**UNSUPPORTED, "bfloat16": "ONNX Runtime has no such kernel on the CPU"}
    unsupported_on: Mapping[str, Mapping[str, str]] = {
        "openvino": {
            "training": OPENVINO,
            "track_running_stats_off": f"{OPENVINO}, in which it normalises by the batch",
        }
    }

    def devices(self) -> list[str]:
        """The CPU, and every device that an installed provider can really make a session on."""
        import onnxruntime

        found = ["cpu"]
        for kind in [kind for kind in PROVIDERS if kind != "cpu"]:
            while PROVIDERS[kind] in onnxruntime.get_available_providers():
                device = kind if kind in CHOSEN else f"{kind}:{len([name for name in found if name.startswith(kind)])}"
                if device in found:
                    break
                try:
                    session(model(ModelKey(self.opset), {}), device)
                except Exception:  # its errors share no class: no such device, or a library of the provider is missing
                    break
                found.append(device)
        return found

    def build(self, config: Any, device: str) -> OnnxLayer:
        """A layer of this configuration; NotImplementedError for what the operator cannot be asked."""
        return self.layer(node_of(config, self.opset), config.num_features, partial(self.prepare, device))

    def build_default(self, num_features: int, device: str) -> OnnxLayer:
        """A layer whose node has no attributes."""
        return self.layer(ModelKey(self.opset), num_features, partial(self.prepare, device))

    def prepare(self, device: str, node: ModelKey, constants: Mapping[str, Array]) -> Run:
        """A node ready to run."""
        if not constants:
            return share(node, device, self.optimised)
        return partial(session(model(node, constants), device, self.optimised).run, None)


class OnnxRuntimeUnoptimised(OnnxRuntime):
    """The same with every graph optimisation off."""

    name = "onnxruntime+unoptimised"
    optimised = False


class OnnxRuntimeFused(OnnxRuntime):
    """The node in evaluation after a convolution that changes nothing, folded into its weights and made certain to be.

    The convolution has one weight of 1 for each channel, and so gives x back exactly.
    """

    name = "onnxruntime+fused"
    deviations: Mapping[str, str] = {}
    documented: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {
        **OnnxRuntime.unsupported,
        "training": "only in evaluation can the normalisation be folded into weights",
        "track_running_stats_off": "only running statistics can be folded into weights",
        "rank_2": "a convolution has at least one spatial axis",
        "float64": "ONNX Runtime has no convolution of this dtype on the CPU",
        "float16": "ONNX Runtime folds only where the parameters have the dtype of x",
    }

    def devices(self) -> list[str]:
        """Those of ONNX Runtime's own kernels: OpenVINO folds by itself, and shows no graph of it."""
        return [device for device in super().devices() if device not in CHOSEN]

    def build(self, config: Any, device: str) -> OnnxLayer:
        """A layer of this configuration; NotImplementedError for what cannot be folded."""
        refused = "rank_2" if config.ndim == 2 else "float16" if config.dtype != config.param_dtype else ""
        if refused or not config.track_running_stats:
            raise NotImplementedError(self.unsupported[refused or "track_running_stats_off"])
        return super().build(config, device)

    def prepare(self, device: str, node: ModelKey, constants: Mapping[str, Array]) -> Run:
        """A node ready to run; NotFused where a normalisation is left in the graph that runs."""
        if node.training:
            raise NotImplementedError(self.unsupported["training"])
        made = session(model(node._replace(convolved=True), constants), device)
        left = {part.op_type for graph in made.get_provider_graph_assignment_info() for part in graph.get_nodes()}
        if left != {"Conv"}:
            raise NotFused(f"the graph that runs consists of {', '.join(sorted(left))}")
        return partial(made.run, None)


class OnnxRuntime14(OnnxRuntime):
    """The definition of opset 14."""

    name = "onnxruntime+opset14"
    opset = 14


class OnnxRuntime9(OnnxRuntime):
    """The definition of opset 9."""

    name = "onnxruntime+opset9"
    opset = 9
    layer = SavingOnnxLayer
    unsupported: Mapping[str, str] = {**UNSUPPORTED, **BEFORE_14}
    deviations: Mapping[str, str] = {"epsilon_value": "single_precision", "momentum_value": "single_precision"}
    documented: Mapping[str, str] = {name: DOCUMENTED[name] for name in deviations}


class OnnxRuntime7(OnnxRuntime9):
    """The definition of opset 7."""

    name = "onnxruntime+opset7"
    opset = 7
