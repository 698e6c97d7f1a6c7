"""The documents' network in each framework, as one writes it there: its own layers, gradients and optimiser.

A network is a class with `deviations`, as an adapter's, and `build(weights, options)`, which returns something with

* `step(images, labels)`: one step of SGD on the mean of the softmax cross-entropy; the loss before it;
* `evaluate(images, labels)`: the loss in evaluation mode, which moves nothing;
* `statistics()`: running mean and running variance of each BatchNorm, in order.

They are built on the CPU, DEVICE. `weights` are those of `bnconform.backends.runner.lenet.WEIGHTS`, in PyTorch's
layout; images (N, 1, 28, 28) and the weights have the dtype `options.dtype`. `options` has also `rate`, `eps`,
`momentum` (the weight of the new batch), `device` and `example`, one image. A framework is imported inside the
functions. The name of a network is that of the backend whose BatchNorm it uses, with +lenet: so `--python mlx=PATH` is
about it, too.
"""

from __future__ import annotations

import importlib
from typing import Any

from bnconform.backends import registry
from bnconform.backends.registry import BackendError, Entry

DEVICE = "cpu"
"""Where the networks are."""

NETWORKS: dict[str, Entry] = {
    "torch.nn+lenet": Entry("torch_network", "TorchNetwork", "torch", "torch"),
    "flax.nnx+lenet": Entry("flax_network", "FlaxNetwork", "flax jax", "jax"),
    "equinox+lenet": Entry("equinox_network", "EquinoxNetwork", "equinox jax", "jax"),
    "haiku+lenet": Entry("haiku_network", "HaikuNetwork", "haiku jax", "jax"),
    "keras+tensorflow+lenet": Entry("keras_network", "KerasTensorflowNetwork", "keras tensorflow", "tensorflow"),
    "keras+jax+lenet": Entry("keras_network", "KerasJaxNetwork", "keras jax", "tensorflow,jax"),
    "keras+torch+lenet": Entry("keras_network", "KerasTorchNetwork", "keras torch", "tensorflow,torch"),
    "mlx+lenet": Entry("mlx_network", "MlxNetwork", "mlx", "mlx"),
    "paddle+lenet": Entry("paddle_network", "PaddleNetwork", "paddle", "paddle"),
    "tinygrad+lenet": Entry("tinygrad_network", "TinygradNetwork", "tinygrad", "tinygrad"),
    "mindspore+lenet": Entry("mindspore_network", "MindSporeNetwork", "mindspore", "mindspore"),
    "documents.d2l_en+lenet": Entry("documents_networks", "D2lEnNetwork", "torch", "torch"),
    "documents.d2l_zh+lenet": Entry("documents_networks", "D2lZhNetwork", "torch", "torch"),
    "documents.d2l_zh+lenet+as_printed": Entry("documents_networks", "D2lZhPrinted", "torch", "torch"),
}
"""The networks by name, in the order in which they are listed."""


def load(name: str) -> Any:
    """The network of this name.

    Raises:
        BackendError: where its framework is not installed.
    """
    entry = NETWORKS[name]
    reason = registry.missing(entry)
    if reason:
        raise BackendError(f"the network {name} cannot run: {reason}")
    return getattr(importlib.import_module(f"{__package__}.{entry.module}"), entry.attribute)()
