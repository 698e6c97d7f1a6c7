"""Keras 2, the package tf_keras: BatchNormalization as it comes, and with fused=False.

As it comes, the layer uses TensorFlow's fused operation at ranks 4 and 5, unless the dtype is float64, and its own
composition of operations elsewhere. Momentum weighs the old value, so the layer is given 1 - momentum; half-precision
input with single-precision statistics is the policy mixed_float16 (or mixed_bfloat16); `center` is the bias and
`scale` the weight. The channels are the last axis, Keras' default: the adapter moves axis 1 there and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnconform.backends.keras_backends import Array, KerasLayer, KerasTensorflowLayer
from bnconform.backends.keras_layers import KerasTensorflow
from bnconform.backends.tensorflow_tensors import devices, prepare


class TfKerasLayer(KerasTensorflowLayer):
    """A built tf_keras layer behind arrays."""

    eval_shape: Any = None
    """compute_output_spec is of Keras 3."""

    def mask_tensor(self, mask: Array) -> Any:
        """A mask as one of TensorFlow's tensors."""
        import tensorflow as tf

        return tf.convert_to_tensor(mask)

    def parameters(self) -> list[Any]:
        """The layer's trainable variables, which are TensorFlow's."""
        return list(self.layer.trainable_variables)

    def variables(self) -> list[Any]:
        """They are TensorFlow's, too."""
        return list(self.layer.variables)


class TfKeras(KerasTensorflow):
    """BatchNormalization, eager."""

    name = "tf_keras"
    # The documented formula has one var(batch) for both uses. The fused operation keeps to another, so nothing can be
    # declared that is true at every rank.
    deviations: Mapping[str, str] = {}
    documented: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {
        **KerasTensorflow.unsupported,
        "momentum_none": "the layer has no cumulative average; it takes None, evaluates, and fails when it trains",
    }
    options: Mapping[str, Any] = {}
    build_lazy: Any = None
    """That is Keras 3."""

    def devices(self) -> list[str]:
        """See `tensorflow_tensors.devices`."""
        return devices()

    def build(self, config: Any, device: str) -> KerasLayer:
        """A layer of this configuration; NotImplementedError where there is no way to ask."""
        if config.momentum is None:
            raise NotImplementedError(self.unsupported["momentum_none"])
        return super().build(config, device)

    def make_layer(self, shape: tuple[int | None, ...], device: str, options: dict[str, Any]) -> KerasLayer:
        """A layer of these options, built for inputs of this shape."""
        prepare()
        import tf_keras

        found = TfKerasLayer(tf_keras.layers.BatchNormalization(**options, **self.options), device)
        with found.scope():
            found.layer.build(shape)
        return found


class TfKerasUnfused(TfKeras):
    """BatchNormalization with fused=False, eager."""

    name = "tf_keras+unfused"
    deviations = KerasTensorflow.deviations
    documented = KerasTensorflow.documented
    options: Mapping[str, Any] = {"fused": False}
