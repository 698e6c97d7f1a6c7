"""ncnn: a traced model converted by pnnx, ncnn's own converter, and run on the CPU, one sample at a time.

ncnn's arrays have no axis of samples, so that a batch is its samples one by one. pnnx merges BatchNorms itself.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bnconform.backends.deployments.torch_models import TorchDeployment
from bnconform.backends.deployments.torch_onnx import SINGLE
from bnconform.backends.torch_tensors import Array, to_tensor

PAGE = "https://github.com/Tencent/ncnn/wiki/use-ncnn-with-pytorch-or-onnx"

LIMIT = 60
"""Seconds for a conversion, which takes two."""


class Pnnx(TorchDeployment):
    """Asked for single precision, in the file of weights and in memory."""

    name = "ncnn"
    slow_to_start = True
    unsupported: ClassVar[Mapping[str, str]] = SINGLE
    half = False

    def deploy(self, original: Any, example: Array) -> Callable[[Array], Array]:
        """A network of what pnnx has made."""
        if str(example.dtype) in self.unsupported:
            raise NotImplementedError("asked in single precision alone")
        import torch

        one = to_tensor(example[:1], "cpu")
        with torch.no_grad():
            traced = torch.jit.trace(original, one)
            shape = tuple(traced(one).shape)
        with tempfile.TemporaryDirectory(prefix="bnconform-") as folder:
            return self.network(self.convert(traced, one, Path(folder)), shape)

    def convert(self, traced: Any, one: Any, folder: Path) -> Path:
        """Where the two files of the converted model begin."""
        traced.save(str(folder / "model.pt"))
        shape = ",".join(map(str, one.shape))
        command = [executable("pnnx"), "model.pt", f"inputshape=[{shape}]", f"fp16={int(self.half)}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT)
        made = folder / "model.ncnn"
        if done.returncode or not made.with_suffix(".ncnn.param").exists():
            raise RuntimeError(f"pnnx ends with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
        return made

    def network(self, made: Path, shape: tuple[int, ...]) -> Callable[[Array], Array]:
        """What predicts by the two files, of a model whose prediction of one sample has this shape."""
        import ncnn

        net = ncnn.Net()
        net.opt.num_threads = 1
        if not self.half:
            for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
                setattr(net.opt, name, False)
        if net.load_param(f"{made}.param") or net.load_model(f"{made}.bin"):
            raise RuntimeError("ncnn does not load what pnnx has made")

        def predict(x: Array) -> Array:
            found = []
            for sample in x:
                run = net.create_extractor()
                run.input("in0", ncnn.Mat(np.ascontiguousarray(sample)).clone())
                failed, y = run.extract("out0")
                if failed:
                    raise RuntimeError(f"ncnn's extract ends with {failed}")
                # Behind some linear layers pnnx keeps the axis of the one sample.
                found.append(np.array(y)[0] if np.array(y).shape == shape else np.array(y))
            return np.stack(found)

        return predict


class PnnxDefault(Pnnx):
    """The same as it comes: weights in half precision, and whatever ncnn computes in half precision here."""

    name = "ncnn+default"
    half = True
    lower_precision: ClassVar[Mapping[str, str]] = {"float32": "float16"}
    documented: ClassVar[Mapping[str, str]] = {
        "lower_precision": f"{PAGE}: pnnx stores weights in float16 unless it is told fp16=0"
    }


def executable(name: str) -> str:
    """A program of this interpreter's environment."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise RuntimeError(f"{name} is not installed beside this interpreter")
    return found
