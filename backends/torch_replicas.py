"""PyTorch's layers under DistributedDataParallel: SyncBatchNorm, and BatchNorm as it is. A replica is a process.

The processes speak by gloo, are started when they are first asked for, and end with the one that started them. A pass
is made in two steps, so that no process waits in a backward pass for one that has refused the forward pass.
DistributedDataParallel takes the mean over processes of the parameters' gradients.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bnconform.backends.torch_layers import STATE, UNSUPPORTED, Gradients, TorchLayer, TorchNN, module
from bnconform.backends.torch_tensors import Array, to_array, to_tensor

PROCESSES = 4
"""As many as replicas are asked for."""

PATIENCE = 30
"""Seconds that a collective waits for the others."""

DDP_PAGE = "https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html"
AVERAGED = f"{DDP_PAGE}: the gradients between different nodes are averaged"

WORKER = f"""
import os, pickle, sys
from datetime import timedelta

import torch
from torch import distributed, nn

rank, count, place = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
torch.set_num_threads(1)
distributed.init_process_group(
    "gloo", init_method="file://" + place, rank=rank, world_size=count, timeout=timedelta(seconds={PATIENCE})
)
groups = [distributed.new_group(list(range(size))) for size in range(1, count + 1)]
kept = {{}}


def forward(layer, size, x, training, backward, device):
    layer = layer.to(device)
    if isinstance(layer, nn.SyncBatchNorm):
        layer.process_group = groups[size - 1]
    model = layer
    if any(parameter.requires_grad for parameter in layer.parameters()):
        model = nn.parallel.DistributedDataParallel(layer, process_group=groups[size - 1])
    x = x.to(device).requires_grad_(backward)
    y = model.train(training)(x)
    kept.update(layer=layer, model=model, x=x, y=y)
    return y.detach().cpu(), {{name: value.detach().cpu() for name, value in layer.state_dict().items()}}


def backward(grad_output):
    kept["y"].backward(grad_output.to(kept["y"].device))
    found = {{name: value.grad.cpu() for name, value in kept["layer"].named_parameters()}}
    return kept["x"].grad.cpu(), found


while True:
    try:
        what, given = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        reply = {{"forward": forward, "backward": backward}}[what](**given)
    except Exception as error:
        reply = error
    try:
        pickle.dumps(reply)
    except Exception:
        reply = RuntimeError(str(reply))
    pickle.dump(reply, answers)
    answers.flush()
os._exit(0)
"""


class ProcessDied(RuntimeError):
    """A process of a replica is gone."""

    is_refusal = False


class Processes:
    """Those of the replicas, which know each other."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="bnconform-")
        place = str(Path(self.folder.name) / "store")
        self.each = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(rank), str(PROCESSES), place],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
            )
            for rank in range(PROCESSES)
        ]  # fmt: skip
        atexit.register(self.close)

    def ask(self, what: str, given: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The answers of the first processes, one for each of what they are given; the first error of any is raised."""
        asked = list(zip(self.each, given, strict=False))
        for process, request in asked:
            assert process.stdin is not None
            try:
                pickle.dump((what, dict(request)), process.stdin)
                process.stdin.flush()
            except OSError as problem:
                raise ProcessDied(f"a replica's process is gone: {problem}") from None
        found = [self._answer(process) for process, _ in asked]
        for one in found:
            if isinstance(one, Exception):
                raise one
        return found

    def _answer(self, process: subprocess.Popen[bytes]) -> Any:
        assert process.stdout is not None
        try:
            return pickle.load(process.stdout)
        except EOFError:
            raise ProcessDied(f"a replica's process ended with status {process.wait()}") from None

    def close(self) -> None:
        """End them."""
        for process in self.each:
            process.kill()
            process.wait()
        self.folder.cleanup()


@cache
def processes() -> Processes:
    """The processes, started once."""
    return Processes()


class DistributedLayer(TorchLayer):
    """A module of which each process has a copy under DistributedDataParallel."""

    vmap: Any = None
    vmap_layers: Any = None
    jacrev: Any = None
    jacfwd: Any = None
    eval_shape: Any = None
    """The row without replicas has these."""

    def replicated(self, xs: Sequence[Array], *, training: bool) -> list[tuple[Array, dict[str, Array | None]]]:
        """(y, state) of each replica; the layer stays as it is."""
        found = self._pass_forward(xs, training, backward=False)
        return [
            (to_array(y), {name: to_array(state[name]) if name in state else None for name in STATE})
            for y, state in found
        ]

    def replicated_vjp(self, xs: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool) -> list[Gradients]:
        """The gradients that each replica gives, by a backward pass in every process."""
        self._pass_forward(xs, training, backward=True)
        given = [{"grad_output": to_tensor(array, "cpu")} for array in grad_outputs]
        return [
            self._as_gradients(found, (by_x, *found.values())) for by_x, found in processes().ask("backward", given)
        ]

    def _pass_forward(self, xs: Sequence[Array], training: bool, *, backward: bool) -> list[Any]:
        return processes().ask(
            "forward",
            [
                {
                    "layer": self.module, "size": len(xs), "x": to_tensor(x, "cpu"), "training": training,
                    "backward": backward, "device": self.device,
                }
                for x in xs
            ],
        )  # fmt: skip


class TorchDdp(TorchNN):
    """BatchNorm1d, BatchNorm2d and BatchNorm3d, whose replicas are under DistributedDataParallel."""

    name = "torch.nn+ddp"
    deviations: Mapping[str, str] = {"replica_statistics": "own", "replica_parameter_gradients": "mean"}
    documented: Mapping[str, str] = {
        "replica_statistics": f"{DDP_PAGE}: each process has BatchNorm stats of its own: buffers, which are broadcast "
        "from rank 0 in every iteration",
        "replica_parameter_gradients": AVERAGED,
    }

    def build(self, config: Any, device: str) -> DistributedLayer:
        """A layer of this configuration; NotImplementedError for what the row or the device does not have."""
        return DistributedLayer(module(config, device, num_features=config.num_features), device)


class TorchSync(TorchNN):
    """SyncBatchNorm, whose replicas are under DistributedDataParallel."""

    name = "torch.nn+sync"
    deviations: Mapping[str, str] = {"replica_parameter_gradients": "mean"}
    documented: Mapping[str, str] = {"replica_parameter_gradients": AVERAGED}
    unsupported: Mapping[str, str] = UNSUPPORTED
    unsupported_on: Mapping[str, Mapping[str, str]] = {
        **TorchNN.unsupported_on,
        "cpu": dict.fromkeys(
            ("replicated", "replicated_vjp"), "SyncBatchNorm is for GPUs: DistributedDataParallel refuses it elsewhere"
        ),
    }

    def build(self, config: Any, device: str) -> DistributedLayer:
        """A layer of this configuration; NotImplementedError for what the row or the device does not have."""
        from torch import nn

        plain = module(config, device, num_features=config.num_features)
        return DistributedLayer(nn.SyncBatchNorm.convert_sync_batchnorm(plain), device)

    def build_default(self, num_features: int, device: str) -> TorchLayer:
        """SyncBatchNorm with its own defaults."""
        from torch import nn

        return TorchLayer(nn.SyncBatchNorm(num_features, device=device), device)
