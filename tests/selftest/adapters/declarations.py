"""Adapters whose numbers are the oracle's at some point of the space; what they declare is true, untrue or idle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.tests.mutants.oracle_layer import OracleBackend, OracleLayer

BIASED = SPECIFIED.but(running_variance="biased")


class At(OracleBackend):
    """The specified point under the class's own name, with the declarations that the class makes."""

    point: Behaviour = SPECIFIED
    declares: Mapping[str, str] = {}
    lacks: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__(self.point)
        self.name = type(self).__name__
        self.deviations, self.unsupported = dict(self.declares), dict(self.lacks)


class Undeclared(At):
    """It remembers the biased variance and does not say so."""

    point = BIASED


class Declared(At):
    """It remembers the biased variance and says so."""

    point = BIASED
    declares: Mapping[str, str] = {"running_variance": "biased"}


class Untrue(At):
    """It says that it remembers the biased variance, and does not."""

    declares: Mapping[str, str] = {"running_variance": "biased"}


class OtherThanDeclared(At):
    """It remembers another wrong variance than it says."""

    point = SPECIFIED.but(running_variance="biased_plus_eps")
    declares: Mapping[str, str] = {"running_variance": "biased"}


class CountsEverything(At):
    """It misses a `should` and nothing else: evaluation is counted as a batch."""

    point = SPECIFIED.but(batch_counter="all_forwards")


class CountsEverythingAndChangesX(CountsEverything):
    """It misses that `should`, and a `must` beside it: x is not what it was."""

    def build(self, config: Any, device: str) -> OracleLayer:
        """A layer whose forward pass zeroes x once y is computed."""
        layer = super().build(config, device)
        right = layer.forward

        def forward(x: Any, *, training: bool) -> Any:
            y = right(x, training=training)
            x[...] = 0
            return y

        layer.forward = forward  # type: ignore[method-assign]
        return layer


class TwoFaults(At):
    """Two decisions at once, which no single one explains."""

    point = SPECIFIED.but(running_variance="biased", momentum_weighs="running")


class Answers(At):
    """It says that it has no cumulative average, and computes one."""

    lacks: Mapping[str, str] = {"momentum_none": "there is no cumulative average"}


class Refuses(At):
    """It says that it has no cumulative average, and has none."""

    lacks: Mapping[str, str] = {"momentum_none": "there is no cumulative average"}

    def build(self, config: Any, device: str) -> OracleLayer:
        """A layer, unless the momentum is None."""
        if config.momentum is None:
            raise NotImplementedError("momentum None")
        return super().build(config, device)


class Idle(At):
    """A declaration that changes nothing, as training puts epsilon inside the root, too.

    One case a check and float32 alone, to be quick.
    """

    slow_to_start = True

    declares: Mapping[str, str] = {"evaluation_epsilon_form": "inside"}
    lacks: Mapping[str, str] = dict.fromkeys(("float64", "float16", "bfloat16"), "it computes in single precision")

    def build(self, config: Any, device: str) -> OracleLayer:
        """A layer for float32."""
        if config.dtype != "float32" or config.param_dtype != "float32":
            raise NotImplementedError(config.dtype)
        return super().build(config, device)


class NoKernel(At):
    """It makes and loads layers of every dtype, and has no kernel for half precision."""

    lacks: Mapping[str, str] = {"float16": "there is no kernel"}

    def build(self, config: Any, device: str) -> OracleLayer:
        """A layer, whose forward pass is refused in float16."""
        layer = super().build(config, device)
        if config.dtype == "float16":
            layer.forward = self.refuse  # type: ignore[method-assign]
        return layer

    @staticmethod
    def refuse(x: Any, *, training: bool) -> Any:
        """No pass in float16."""
        raise NotImplementedError("float16")


class NoKernelForWhatItChanges(NoKernel):
    """It refuses half precision, as declared, and has zeroed x by then."""

    @staticmethod
    def refuse(x: Any, *, training: bool) -> Any:
        """No pass in float16, and no x any more."""
        x[...] = 0
        raise NotImplementedError("float16")


class AKernelAfterAll(At):
    """It says that it has no kernel for half precision, and has one."""

    lacks: Mapping[str, str] = {"float16": "there is no kernel"}


class Dies(At):
    """Its process ends, without a word, when a layer for momentum None is built."""

    def build(self, config: Any, device: str) -> OracleLayer:
        """A layer, or the end."""
        if config.momentum is None:
            os._exit(3)
        return super().build(config, device)
