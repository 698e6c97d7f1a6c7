"""Keras 3 on TensorFlow under tf.distribute.MirroredStrategy, over several logical CPUs: synchronized and not.

A replica is a thread of the strategy. The CPU is made into DEVICES logical devices, which TensorFlow takes before it is
first used: these rows have a process of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from bnconform.backends.keras_backends import NAMES, Array, Gradients, KerasTensorflowLayer
from bnconform.backends.keras_layers import KerasTensorflow, activate
from bnconform.backends.tensorflow_tensors import to_array

DEVICES = 4
"""The CPU's devices."""

PAGE = "https://keras.io/api/layers/normalization_layers/batch_normalization/"

State = dict[str, "Array | None"]


class TooFewLogicalDevices(RuntimeError):
    """TensorFlow was used before, with fewer devices."""

    is_refusal = False


@cache
def prepare() -> None:
    """Make several logical devices of the CPU; TooFewLogicalDevices where TensorFlow has been used without them."""
    activate("tensorflow")
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    with suppress(RuntimeError):  # it has been used: then it has as many, or not
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
    if len(tf.config.list_logical_devices("CPU")) < DEVICES:
        raise TooFewLogicalDevices(
            "TensorFlow already runs on one CPU in this process; judge this row in a process of its own"
        )


@cache
def strategy(count: int) -> Any:
    """A strategy of so many replicas."""
    import tensorflow as tf

    devices = [f"CPU:{number}" for number in range(count)]
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())


class MirroredLayer(KerasTensorflowLayer):
    """A layer, and one like it under a strategy for each number of replicas.

    Attributes:
        options, shape: what a layer like it is made and built of.
    """

    freeze: Any = None
    options: Mapping[str, Any]
    shape: tuple[int | None, ...]

    vmap: Any = None
    jacrev: Any = None
    eval_shape: Any = None
    """The row without replicas has these."""

    def replicated(self, xs: Sequence[Array], *, training: bool) -> list[tuple[Array, State]]:
        """(y, state) of each replica; the layer stays as it is."""
        return self._pass(xs, training)

    def masked_replicated(
        self, xs: Sequence[Array], masks: Sequence[Array], *, training: bool
    ) -> list[tuple[Array, State]]:
        """The same of replicas that are given a mask each."""
        return self._pass(xs, training, self._masks(xs, masks))

    def _pass(self, xs: Sequence[Array], training: bool, *masks: Sequence[Any]) -> list[tuple[Array, State]]:
        mirrored = self._mirror(len(xs))
        outputs = self._run(
            len(xs), lambda x, *mask: mirrored(x, training=training, **_name_mask(mask)), self._tensors(xs), *masks
        )
        states = self._states(mirrored, len(xs))
        return [(self.copy(y), state) for y, state in zip(outputs, states, strict=True)]

    def replicated_vjp(self, xs: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool) -> list[Gradients]:
        """The gradients that each replica gives, by a GradientTape in each."""
        return self._differentiate(xs, grad_outputs, training)

    def masked_replicated_vjp(
        self, xs: Sequence[Array], masks: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool
    ) -> list[Gradients]:
        """The same of replicas that are given a mask each."""
        return self._differentiate(xs, grad_outputs, training, self._masks(xs, masks))

    def _differentiate(
        self, xs: Sequence[Array], grad_outputs: Sequence[Array], training: bool, *masks: Sequence[Any]
    ) -> list[Gradients]:
        import tensorflow as tf

        mirrored = self._mirror(len(xs))
        there = [name for name in ("weight", "bias") if getattr(mirrored, NAMES[name]) is not None]

        def gradients(x: Any, grad_output: Any, *mask: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = mirrored(x, training=training, **_name_mask(mask))
            wanted = [x, *(getattr(mirrored, NAMES[name]).value for name in there)]
            return tape.gradient(y, wanted, output_gradients=grad_output)

        found = []
        for by_x, *rest in self._run(len(xs), gradients, self._tensors(xs), self._tensors(grad_outputs), *masks):
            by_name = {name: self.copy(value) for name, value in zip(there, rest, strict=True)}
            found.append((self.copy(by_x), by_name.get("weight"), by_name.get("bias")))
        return found

    def copy(self, tensor: Any) -> Array:
        """A copy of a replica's tensor, which lies on the replica's device."""
        return to_array(tensor, self.axis)

    def _mirror(self, count: int) -> Any:
        """A layer like this one, and in its state, on so many replicas."""
        import keras

        with strategy(count).scope():
            mirrored = keras.layers.BatchNormalization(**self.options)
            mirrored.build(self.shape)
            for name, value in self.state().items():
                if value is not None:
                    getattr(mirrored, NAMES[name]).assign(value)
        return mirrored

    def _tensors(self, arrays: Sequence[Array]) -> list[Any]:
        return [self.tensor(array) for array in arrays]

    def _masks(self, xs: Sequence[Array], masks: Sequence[Array]) -> list[Any]:
        return [self.mask(mask, x.ndim) for x, mask in zip(xs, masks, strict=True)]

    def _run(self, count: int, function: Any, *operands: Sequence[Any]) -> list[Any]:
        """What a function gives on each replica, of the operands of each."""
        import tensorflow as tf

        across = strategy(count)
        given = [
            across.experimental_distribute_values_from_function(
                lambda context, each=each: each[context.replica_id_in_sync_group]
            )
            for each in operands
        ]
        found = across.run(function, args=tuple(given))
        if isinstance(found, list | tuple):
            return list(zip(*map(across.experimental_local_results, found), strict=True))
        return list(across.experimental_local_results(tf.nest.flatten(found)[0]))

    def _states(self, mirrored: Any, count: int) -> list[State]:
        """What each replica remembers."""
        results = strategy(count).experimental_local_results
        shown: dict[str, list[Array] | None] = {}
        for name, theirs in NAMES.items():
            variable = getattr(mirrored, theirs)
            shown[name] = None if variable is None else [np.array(one.numpy()) for one in results(variable.value)]
        return [
            {name: None if each is None else each[number] for name, each in shown.items()} for number in range(count)
        ]


def _name_mask(mask: Sequence[Any]) -> dict[str, Any]:
    """The argument `mask`, where there is one."""
    return dict(zip(("mask",), mask, strict=False))


class KerasMirrored(KerasTensorflow):
    """BatchNormalization(synchronized=True) under MirroredStrategy."""

    name = "keras+tensorflow+mirrored"
    layer = MirroredLayer
    synchronized = True

    def devices(self) -> list[str]:
        """The CPU, which is several devices to TensorFlow."""
        prepare()
        return ["cpu"]

    def make_layer(self, shape: tuple[int | None, ...], device: str, options: dict[str, Any]) -> MirroredLayer:
        """A layer of these options, built for inputs of this shape."""
        prepare()
        whole = {**options, "synchronized": self.synchronized}
        found = super().make_layer(shape, device, whole)
        assert isinstance(found, MirroredLayer)
        found.options, found.shape = whole, shape
        return found


class KerasMirroredUnsynchronised(KerasMirrored):
    """BatchNormalization under MirroredStrategy as it is unless it is told to be synchronized."""

    name = "keras+tensorflow+mirrored_unsynchronised"
    synchronized = False
    deviations: Mapping[str, str] = {**KerasTensorflow.deviations, "replica_statistics": "own"}
    documented: Mapping[str, str] = {
        **KerasTensorflow.documented,
        "replica_statistics": f"{PAGE}: synchronized: if False, each replica uses its own local batch statistics",
    }
