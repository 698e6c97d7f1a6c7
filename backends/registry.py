"""Finding a backend by what --backend is given.

That is a name, FILE.py, FILE.py:CLASS, MODULE:CLASS, command:PROGRAM, or the name of an entry point.

Nothing is imported until a backend is asked for, so listing them imports no framework.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

GROUP = "bnconform.backends"
"""The entry-point group through which other packages offer backends."""

COMMAND = "command:"
"""What a backend begins with that is a program with its arguments; see `program`."""


NEAR = 3
"""Names that are suggested for one."""

OTHER_WORDS = {
    "pytorch": ("torch.nn",),
    "torch": ("torch.nn",),
    "jax": ("flax.nnx", "equinox", "haiku"),
    "flax": ("flax.nnx", "flax.linen"),
    "tensorflow": ("tf.nn", "keras+tensorflow"),
    "tf": ("tf.nn", "tf.fused+nhwc"),
    "keras": ("keras+tensorflow", "keras+jax", "keras+torch"),
    "onnx": ("onnx.reference", "onnxruntime"),
    "np": ("numpy",),
}
"""What people call the frameworks, and which backends are meant."""


class BackendError(Exception):
    """A backend that cannot be loaded; the message says what to do, in one line."""


@dataclass(frozen=True)
class Entry:
    """A backend of this package: the module in this folder, its class, and what must be installed for it.

    Attributes:
        needs: the modules that must import, in words; backends with the same fit into one process.
        extra: the extra of this package that brings them.
        process: a word that those have in common which share a process with no others, as they set something for it.
    """

    module: str
    attribute: str
    needs: str = ""
    extra: str = ""
    process: str = ""


BUILTIN: dict[str, Entry] = {
    "numpy": Entry("numpy_layer", "NumpyBackend"),
    "torch.nn": Entry("torch_layers", "TorchNN", "torch", "torch"),
    "torch.functional": Entry("torch_functional", "TorchFunctional", "torch", "torch"),
    "torch.native_batch_norm": Entry("torch_functional", "TorchNative", "torch", "torch"),
    "torch.nn+lazy": Entry("torch_layers", "TorchLazy", "torch", "torch"),
    "torch.nn+channels_last": Entry("torch_layers", "TorchChannelsLast", "torch", "torch"),
    "torch.nn+func": Entry("torch_func", "TorchFunc", "torch", "torch"),
    "torch.nn+compile": Entry("torch_compiled", "TorchCompiled", "torch", "torch"),
    "torch.nn+checkpoint": Entry("torch_checkpoint", "TorchCheckpoint", "torch", "torch"),
    "torch.nn+checkpoint_reentrant": Entry("torch_checkpoint", "TorchReentrant", "torch", "torch"),
    "torch.nn+checkpoint+compile": Entry("torch_checkpoint", "TorchCompiledCheckpoint", "torch", "torch"),
    "torch.nn+frozen": Entry("torch_frozen", "TorchFrozen", "torch", "torch"),
    "tabnet.gbn": Entry("torch_tabnet", "TabnetGhost", "torch pytorch_tabnet", "tabnet"),
    "torch.nn+sync": Entry("torch_replicas", "TorchSync", "torch", "torch"),
    "torch.nn+ddp": Entry("torch_replicas", "TorchDdp", "torch", "torch"),
    "flax.nnx": Entry("jax_flax", "FlaxNNX", "flax jax", "jax"),
    "flax.nnx+two_pass": Entry("jax_flax", "FlaxNNXTwoPass", "flax jax", "jax"),
    "flax.nnx+half": Entry("jax_flax", "FlaxNNXHalf", "flax jax", "jax"),
    "flax.linen": Entry("jax_linen", "FlaxLinen", "flax jax", "jax"),
    "flax.linen+two_pass": Entry("jax_linen", "FlaxLinenTwoPass", "flax jax", "jax"),
    "flax.linen+half": Entry("jax_linen", "FlaxLinenHalf", "flax jax", "jax"),
    "flax.linen+padded": Entry("jax_linen", "FlaxLinenPadded", "flax jax", "jax"),
    "flax.linen+unsynchronised": Entry("jax_linen", "FlaxLinenUnsynchronised", "flax jax", "jax"),
    "flax.linen+shard_map": Entry("jax_devices", "FlaxLinenShardMap", "flax jax", "jax", "devices"),
    "flax.linen+pmap": Entry("jax_devices", "FlaxLinenPmap", "flax jax", "jax", "devices"),
    "flax.linen+spmd": Entry("jax_devices", "FlaxLinenSpmd", "flax jax", "jax", "devices"),
    "equinox": Entry("jax_equinox", "Equinox", "equinox jax", "jax"),
    "equinox+ema": Entry("jax_equinox", "EquinoxEma", "equinox jax", "jax"),
    "haiku": Entry("jax_haiku", "Haiku", "haiku jax", "jax"),
    "jax.stax": Entry("jax_stax", "Stax", "jax", "jax"),
    "keras+tensorflow": Entry("keras_layers", "KerasTensorflow", "keras tensorflow", "tensorflow"),
    "keras+tensorflow+function": Entry("keras_compiled", "KerasFunction", "keras tensorflow", "tensorflow"),
    "keras+tensorflow+xla": Entry("keras_compiled", "KerasXla", "keras tensorflow", "tensorflow"),
    "keras+tensorflow+mirrored": Entry("keras_mirrored", "KerasMirrored", "keras tensorflow", "tensorflow", "mirrored"),
    "keras+tensorflow+mirrored_unsynchronised": Entry(
        "keras_mirrored", "KerasMirroredUnsynchronised", "keras tensorflow", "tensorflow", "mirrored"
    ),
    "keras+jax": Entry("keras_layers", "KerasJax", "keras jax", "tensorflow,jax"),
    "keras+torch": Entry("keras_layers", "KerasTorch", "keras torch", "tensorflow,torch"),
    "keras+numpy": Entry("keras_layers", "KerasNumpy", "keras", "tensorflow"),
    "keras+tensorflow+axis1": Entry("keras_layers", "KerasTensorflowFirst", "keras tensorflow", "tensorflow"),
    "keras+jax+axis1": Entry("keras_layers", "KerasJaxFirst", "keras jax", "tensorflow,jax"),
    "keras+torch+axis1": Entry("keras_layers", "KerasTorchFirst", "keras torch", "tensorflow,torch"),
    "keras+numpy+axis1": Entry("keras_layers", "KerasNumpyFirst", "keras", "tensorflow"),
    "keras+tensorflow+remat": Entry("keras_remat", "KerasTensorflowRemat", "keras tensorflow", "tensorflow"),
    "keras+jax+remat": Entry("keras_remat", "KerasJaxRemat", "keras jax", "tensorflow,jax"),
    "keras+torch+remat": Entry("keras_remat", "KerasTorchRemat", "keras torch", "tensorflow,torch"),
    "tf.nn": Entry("tensorflow_ops", "TfNN", "tensorflow", "tensorflow"),
    "tf.fused+nhwc": Entry("tensorflow_ops", "TfFused", "tensorflow", "tensorflow"),
    "tf.fused+nchw": Entry("tensorflow_ops", "TfFusedFirst", "tensorflow", "tensorflow"),
    "tf.fused+xla": Entry("tensorflow_xla", "TfFusedXla", "tensorflow", "tensorflow"),
    "tf_keras": Entry("tf_keras_layers", "TfKeras", "tf_keras tensorflow", "tf-keras"),
    "tf_keras+unfused": Entry("tf_keras_layers", "TfKerasUnfused", "tf_keras tensorflow", "tf-keras"),
    "onnxruntime": Entry("onnx_runtime", "OnnxRuntime", "onnx onnxruntime", "onnx"),
    "onnxruntime+unoptimised": Entry("onnx_runtime", "OnnxRuntimeUnoptimised", "onnx onnxruntime", "onnx"),
    "onnxruntime+fused": Entry("onnx_runtime", "OnnxRuntimeFused", "onnx onnxruntime", "onnx"),
    "onnxruntime+opset14": Entry("onnx_runtime", "OnnxRuntime14", "onnx onnxruntime", "onnx"),
    "onnxruntime+opset9": Entry("onnx_runtime", "OnnxRuntime9", "onnx onnxruntime", "onnx"),
    "onnxruntime+opset7": Entry("onnx_runtime", "OnnxRuntime7", "onnx onnxruntime", "onnx"),
    "onnx.reference": Entry("onnx_reference", "OnnxReference", "onnx", "onnx"),
    "onnx.reference+opset14": Entry("onnx_reference", "OnnxReference14", "onnx", "onnx"),
    "onnx.reference+opset9": Entry("onnx_reference", "OnnxReference9", "onnx", "onnx"),
    "onnx.reference+opset7": Entry("onnx_reference", "OnnxReference7", "onnx", "onnx"),
    "onnx.reference+opset6": Entry("onnx_reference", "OnnxReference6", "onnx", "onnx"),
    "mlx": Entry("mlx_layers", "MLX", "mlx", "mlx"),
    "mlx+compile": Entry("mlx_layers", "MLXCompiled", "mlx", "mlx"),
    "paddle": Entry("paddle_layers", "Paddle", "paddle", "paddle"),
    "paddle+channels_last": Entry("paddle_layers", "PaddleChannelsLast", "paddle", "paddle"),
    "tinygrad": Entry("tinygrad_layers", "Tinygrad", "tinygrad", "tinygrad"),
    "mindspore": Entry("mindspore_layers", "MindSpore", "mindspore", "mindspore"),
    "documents.manual_normalization": Entry("documents", "ManualNormalization"),
    "documents.d2l_en": Entry("documents", "D2lEn", "torch", "torch"),
    "documents.d2l_zh": Entry("documents", "D2lZh", "torch", "torch"),
    "documents.simplified": Entry("documents", "Simplified"),
    "documents.manual_standardization": Entry("documents", "ManualStandardization"),
}
"""The backends of this package by name, in the order in which they are listed."""


DEPLOYMENTS: dict[str, Entry] = {
    "torch.eager": Entry("deployments.torch_eager", "TorchEager", "torch", "torch"),
    "torch.nn.utils.fusion": Entry("deployments.torch_fusers", "TorchFusion", "torch", "torch"),
    "torch.fx.fuse": Entry("deployments.torch_fusers", "FxFuse", "torch", "torch"),
    "torch.ao.fuse_fx": Entry("deployments.torch_fusers", "AoFuseFx", "torch", "torch"),
    "torch.ao.fuse_modules": Entry("deployments.torch_fusers", "AoFuseModules", "torch", "torch"),
    "torch.jit.script": Entry("deployments.torch_script", "JitScript", "torch", "torch"),
    "torch.jit.trace": Entry("deployments.torch_script", "JitTrace", "torch", "torch"),
    "torch.jit.freeze": Entry("deployments.torch_script", "JitFreeze", "torch", "torch"),
    "torch.jit.optimize_for_inference": Entry("deployments.torch_script", "JitOptimized", "torch", "torch"),
    "torch.export": Entry("deployments.torch_export", "TorchExport", "torch", "torch"),
    "torch.export+decompositions": Entry("deployments.torch_export", "TorchDecomposed", "torch", "torch"),
    "torch.onnx+onnxruntime": Entry("deployments.torch_onnx", "Ort", "torch onnx onnxruntime", "torch,onnx"),
    "torch.onnx+onnxruntime+extended": Entry(
        "deployments.torch_onnx", "OrtExtended", "torch onnx onnxruntime", "torch,onnx"
    ),
    "torch.onnx+onnxruntime+basic": Entry("deployments.torch_onnx", "OrtBasic", "torch onnx onnxruntime", "torch,onnx"),
    "torch.onnx+onnxruntime+unoptimised": Entry(
        "deployments.torch_onnx", "OrtUnoptimised", "torch onnx onnxruntime", "torch,onnx"
    ),
    "torch.onnx+reference": Entry("deployments.torch_onnx", "Reference", "torch onnx", "torch,onnx"),
    "torch.onnx.dynamo+onnxruntime": Entry(
        "deployments.torch_onnx", "DynamoOrt", "torch onnx onnxscript onnxruntime", "torch,onnx"
    ),
    "torch.onnx+onnxslim": Entry(
        "deployments.onnx_tools", "OnnxSlim", "torch onnx onnxslim onnxruntime", "torch,onnx,onnx-tools"
    ),
    "torch.onnx+onnxsim": Entry(
        "deployments.onnx_tools", "OnnxSim", "torch onnx onnxsim onnxruntime", "torch,onnx,onnx-tools"
    ),
    "torch.onnx+onnxoptimizer": Entry(
        "deployments.onnx_tools", "OnnxOptimizer", "torch onnx onnxoptimizer onnxruntime", "torch,onnx,onnx-tools"
    ),
    "torch.onnx+onnxscript": Entry(
        "deployments.onnx_tools", "OnnxScript", "torch onnx onnxscript onnxruntime", "torch,onnx,onnx-tools"
    ),
    "torch.onnx+openvino": Entry("deployments.onnx_tools", "OpenVino", "torch onnx openvino", "torch,onnx,onnx-tools"),
    "torch.onnx+openvino+default": Entry(
        "deployments.onnx_tools", "OpenVinoDefault", "torch onnx openvino", "torch,onnx,onnx-tools"
    ),
    "torch.compile": Entry("deployments.torch_compiled_models", "TorchCompile", "torch", "torch"),
    "torch.compile+freezing": Entry("deployments.torch_compiled_models", "TorchCompileFreezing", "torch", "torch"),
    "torch.compile+efficient_conv_bn_eval": Entry(
        "deployments.torch_compiled_models", "TorchCompileConvBn", "torch", "torch"
    ),
    "torch.aotinductor": Entry("deployments.torch_compiled_models", "AotInductor", "torch", "torch"),
    "torch.aotinductor+freezing": Entry("deployments.torch_compiled_models", "AotInductorFreezing", "torch", "torch"),
    "torch.utils.mkldnn": Entry("deployments.torch_mkldnn", "TorchMkldnn", "torch", "torch"),
    "torchao.prepare_pt2e": Entry("deployments.torchao_tools", "AoPt2e", "torch torchao", "torchao"),
    "torch.onnx+tract": Entry("deployments.onnx_runtimes", "Tract", "torch onnx tract", "torch,onnx,tract"),
    "torch.onnx+iree": Entry("deployments.onnx_runtimes", "Iree", "torch onnx iree", "torch,onnx,iree"),
    "tvm": Entry("deployments.tvm_tools", "Tvm", "torch tvm", "torch,tvm"),
    "ncnn": Entry("deployments.ncnn_tools", "Pnnx", "torch ncnn pnnx", "ncnn"),
    "ncnn+default": Entry("deployments.ncnn_tools", "PnnxDefault", "torch ncnn pnnx", "ncnn"),
    "executorch": Entry("deployments.executorch_tools", "ExecuTorch", "torch executorch", "executorch"),
    "executorch+xnnpack": Entry("deployments.executorch_tools", "ExecuTorchXnnpack", "torch executorch", "executorch"),
    "keras.call": Entry("deployments.keras_tools", "KerasCall", "keras tensorflow", "tensorflow"),
    "keras+tf.function": Entry("deployments.keras_tools", "TfFunction", "keras tensorflow", "tensorflow"),
    "keras+xla": Entry("deployments.keras_tools", "TfXla", "keras tensorflow", "tensorflow"),
    "keras+tf.saved_model": Entry("deployments.keras_tools", "SavedModel", "keras tensorflow", "tensorflow"),
    "keras.export": Entry("deployments.keras_tools", "KerasExport", "keras tensorflow", "tensorflow"),
    "keras+tflite": Entry("deployments.keras_tools", "TfLite", "keras tensorflow", "tensorflow"),
    "keras+tflite+float16": Entry("deployments.keras_tools", "TfLiteFloat16", "keras tensorflow", "tensorflow"),
    "keras+tf2onnx": Entry(
        "deployments.keras_onnx", "KerasTf2Onnx", "keras tensorflow tf2onnx onnxruntime", "tensorflow,tf2onnx"
    ),
    "flax.nnx.eval": Entry("deployments.flax_models", "FlaxCall", "flax jax", "jax"),
    "flax.nnx+jit": Entry("deployments.flax_models", "FlaxJit", "flax jax", "jax"),
    "flax.nnx+jax.export": Entry("deployments.flax_models", "FlaxExport", "flax jax", "jax"),
    "equinox.inference_mode": Entry("deployments.equinox_models", "EquinoxInference", "equinox jax", "jax"),
}
"""The deployments of this package by name, in the order in which they are listed."""


EVERYDAY = (
    "torch.eager",
    "torch.nn.utils.fusion",
    "torch.fx.fuse",
    "torch.ao.fuse_fx",
    "torch.ao.fuse_modules",
    "torch.jit.freeze",
    "torch.jit.optimize_for_inference",
    "torch.onnx+onnxruntime",
    "keras+tflite",
)
"""The deployments of an everyday run: those that fold and are used most, in some minutes; the control first."""

EVERYDAY_DTYPE = "float32"
"""The dtype in which an everyday run asks them, where no other is given."""


def missing(entry: Entry) -> str:
    """Why a backend of this package cannot run here, with the command that mends it; "" where it can."""
    lacking = [module for module in entry.needs.split() if importlib.util.find_spec(module) is None]
    if lacking:
        verb = "is" if len(lacking) == 1 else "are"
        return (
            f"{' and '.join(lacking)} {verb} not installed; "
            f'pip install "bnconform[{entry.extra}]" (see the README for versions)'
        )
    return ""


DISTRIBUTIONS = {
    "haiku": "dm-haiku", "paddle": "paddlepaddle", "tensorflow": "tensorflow-cpu", "tvm": "apache-tvm",
    "iree": "iree-base-compiler",
}  # fmt: skip
"""What is installed for a module, where it is called otherwise."""


def distributions(name: str) -> list[str]:
    """The distributions that a backend of this package needs, the framework's own first; none for any other backend."""
    entry = BUILTIN.get(name) or DEPLOYMENTS.get(name)
    return [DISTRIBUTIONS.get(module, module) for module in entry.needs.split()] if entry is not None else []


def find_known(name: str) -> Entry:
    """A backend of this package: its layers, or its deployments."""
    return BUILTIN[name] if name in BUILTIN else DEPLOYMENTS[name]


def adapter_class(name: str) -> Any:
    """The adapter of a backend of this package, whether or not its framework is installed."""
    entry = find_known(name)
    return getattr(_import(f"{__package__}.{entry.module}", name), entry.attribute)


def group(given: str) -> str:
    """Backends of one group can be loaded by one process."""
    entry = BUILTIN.get(given) or DEPLOYMENTS.get(given)
    return given if entry is None else f"{entry.needs} {entry.process}".strip()


def find_entry_points() -> dict[str, Any]:
    """The entry points of other installed packages, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load(given: str) -> Any:
    """The backend that `given` names, as an instance; BackendError, in one line, where there is none."""
    if given.startswith(COMMAND):
        from bnconform.backends.external.program import ProgramBackend  # which imports this module

        return ProgramBackend(given.removeprefix(COMMAND))
    if given in BUILTIN or given in DEPLOYMENTS:
        entry = find_known(given)
        reason = missing(entry)
        if reason:
            raise BackendError(f"the backend {given} cannot run: {reason}")
        return _instance(adapter_class(given), given)
    points = find_entry_points()
    if given in points:
        try:
            return _instance(points[given].load(), given)
        except (Exception, SystemExit) as error:
            raise BackendError(f"the backend {given} of an installed package does not load: {_say(error)}") from error
    place, colon, attribute = given.rpartition(":")
    if not colon or not place:
        near = alike(given, [*BUILTIN, *DEPLOYMENTS, *points])
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise BackendError(
            f"unknown backend {given!r}; {meant}`bnconform list` shows the names; or give FILE.py, FILE.py:CLASS, "
            "MODULE:CLASS or command:PROGRAM"
        )
    module = _import_file(Path(place), given) if place.endswith(".py") or "/" in place else _import(place, given)
    if not hasattr(module, attribute):
        raise BackendError(f"{place} has no {attribute}; it defines {', '.join(_classes(module)) or 'no class'}")
    return _instance(getattr(module, attribute), given)


def alike(given: str, names: Iterable[str]) -> list[str]:
    """The names that a misspelt or unfinished one may have been meant for, the likeliest first."""
    word = given.lower()
    known = [*names]
    begun = [name for name in known if word and name.lower().startswith((word + ".", word + "+", word))]
    said = [name for name in OTHER_WORDS.get(word, ()) if name in known]
    return [*dict.fromkeys([*said, *begun])][:NEAR] or difflib.get_close_matches(word, known, n=NEAR)


def complete_name(given: str) -> str:
    """What --backend was given, with the class of a file that was given without one: the only backend in it.

    The file is read and not run: a backend is a class that has a `name` of its own.

    Raises:
        BackendError: where the file is missing, is no Python, or holds no backend or several.
    """
    if not given.endswith(".py") or ":" in given.removeprefix(Path(given).drive):
        return given
    try:
        tree = ast.parse(Path(given).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackendError(f"the backend {given} names a file that does not exist: {given}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise BackendError(f"the backend {given} does not import: {_say(error)}") from None
    found = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and any(map(_is_name, node.body))]
    if len(found) != 1:
        what = "several backends" if found else "no backend, which is a class with a `name` of its own"
        choice = " or ".join(f"{given}:{name}" for name in found[:NEAR]) or f"{given}:CLASS"
        raise BackendError(f"{given} holds {what}; give {choice}")
    return f"{given}:{found[0]}"


def _is_name(node: ast.stmt) -> bool:
    """Whether a statement of a class gives it a `name`."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == "name" for target in targets)


def _import(name: str, given: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise BackendError(f"the backend {given} does not import: {_say(error)}{_advise(given, error)}") from error


SENT: dict[str, str] = {}
"""Sources of adapters that came with the runner, by the path that they have where the suite runs."""


def _import_file(path: Path, given: str) -> Any:
    if str(path) in SENT:
        return _import_sent(path, given)
    if not path.is_file():
        raise BackendError(f"the backend {given} names a file that does not exist: {path}")
    name = "bnconform_adapter_" + "".join(c if c.isalnum() else "_" for c in str(path.resolve()))
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise BackendError(f"the backend {given} is not a Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # at the end, so that nothing beside the adapter hides what it imports
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BackendError(f"the backend {given} does not import: {_say(error)}{_advise(given, error)}") from error
    return module


def _import_sent(path: Path, given: str) -> Any:
    name = "bnconform_adapter_" + "".join(c if c.isalnum() else "_" for c in str(path))
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = type(sys)(name)
    module.__file__ = str(path)
    try:
        exec(compile(SENT[str(path)], str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BackendError(f"the backend {given} does not import: {_say(error)}{_advise(given, error)}") from error
    return module


def _instance(found: Any, given: str) -> Any:
    if not isinstance(found, type):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise BackendError(
            f"the backend {given} cannot be made: {_say(error)}; its class takes no arguments"
        ) from error


def _classes(module: Any) -> list[str]:
    return [
        name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__
    ]


def _advise(given: str, error: BaseException) -> str:
    """What to do about a package that is not there; "" for any other fault."""
    module = given.rpartition(":")[0]
    if not isinstance(error, ModuleNotFoundError) or not error.name or f"{module}.".startswith(f"{error.name}."):
        return ""  # or it is the backend's own module, whose name is wrong
    return f"; install {error.name.partition('.')[0]}, or name an interpreter that has it: --python {given}=PATH"


def _say(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
