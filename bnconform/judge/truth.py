"""What is due at one call: the oracle's record with its bounds, kept so that the same question is answered once.

Many implementations, and many points of the behaviour space, are asked the same: the suite's programs are fixed, and a
right layer shows the same state before a call as every other.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from bnconform.cases.program import Array, Step
from bnconform.spec import oracle
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import Allowance
from bnconform.spec.error_bounds.forward import ForwardErrors, running_errors
from bnconform.spec.error_bounds.gradients import bias_gradient, input_gradient, weight_gradient
from bnconform.spec.exact import Exact, Floats, exact

LARGEST = 150_000
"""Elements of input up to which truths are kept, some 400 bytes each."""


@dataclass
class Truth:
    """One forward or backward pass at one point of the space.

    Attributes:
        record: the oracle's record of the forward pass. gradients: that of the backward pass, or None.
    """

    record: oracle.Forward
    gradients: oracle.Backward | None
    allow: Allowance
    _bounds: dict[str, Floats] = field(default_factory=dict)

    def due(self, name: str) -> Exact | None:
        """What y, grad_x, grad_weight or grad_bias must be; None where there is no such parameter."""
        if name == "y":
            return self.record.y
        found: Exact | None = getattr(self.gradients, name)
        return found

    def bound(self, name: str) -> Floats:
        """How far it may lie from that, element by element."""
        if name not in self._bounds:
            self._bounds[name] = self._bound(name)
        return self._bounds[name]

    def _bound(self, name: str) -> Floats:
        due = self.due(name)
        assert due is not None
        if not self.record.x.size:
            return np.zeros(due.shape)
        if name == "y":
            return ForwardErrors(self.record, self.allow).output
        assert self.gradients is not None
        of = {"grad_x": input_gradient, "grad_weight": weight_gradient, "grad_bias": bias_gradient}[name]
        return of(self.gradients, self.allow)

    def running(self, name: str) -> Floats:
        """The bound on running_mean or running_var after the pass."""
        if name not in self._bounds:
            record = self.record
            both = running_errors(record.config, record.behaviour, record.before, record, self.allow)
            self._bounds |= dict(zip(("running_mean", "running_var"), both, strict=True))
        return self._bounds[name]


_KEPT: OrderedDict[tuple[object, ...], Truth] = OrderedDict()
_size = 0


def truth(config: Config, behaviour: Behaviour, allow: Allowance, before: oracle.State, step: Step) -> Truth:
    """The truth of a forward or backward step from the state `before`; to be called within `exact.arithmetic()`."""
    global _size
    assert step.x is not None
    key = (
        config, behaviour, allow, step.op, step.training, _state_key(before), _key(step.x),
        None if step.grad_output is None else _key(step.grad_output),
    )  # fmt: skip
    found = _KEPT.get(key)
    if found is not None:
        _KEPT.move_to_end(key)
        return found
    x = numbers(step.x)
    if step.op == "forward":
        made = Truth(oracle.forward(config, behaviour, before, x, training=step.training), None, allow)
    else:
        assert step.grad_output is not None
        gradients = oracle.backward(config, behaviour, before, x, numbers(step.grad_output), training=step.training)
        made = Truth(gradients.forward, gradients, allow)
    if x.size <= LARGEST // 2:
        _KEPT[key] = made
        _size += x.size
        while _size > LARGEST:
            _, oldest = _KEPT.popitem(last=False)
            _size -= oldest.record.x.size
    return made


_NUMBERS: OrderedDict[tuple[object, ...], Exact] = OrderedDict()


def numbers(values: Array) -> Exact:
    """`exact`, kept for small arrays: many points are asked about what one layer showed."""
    if values.size > SMALL:
        return exact(values)
    key = _key(values)
    made = _NUMBERS.get(key)
    if made is None:
        _NUMBERS[key] = made = exact(values)
        if len(_NUMBERS) > MOST:
            _NUMBERS.popitem(last=False)
    return made


SMALL, MOST = 512, 2048
"""Elements up to which, and arrays of which, the exact numbers are kept."""


def _key(values: Array) -> tuple[object, ...]:
    return values.shape, str(values.dtype), values.tobytes()


def _state_key(state: oracle.State) -> tuple[object, ...]:
    arrays = (state.running_mean, state.running_var, state.weight, state.bias)
    return (
        *(None if value is None else tuple(value.reshape(-1)) for value in arrays),
        state.num_batches_tracked,
        state.updates,
    )
