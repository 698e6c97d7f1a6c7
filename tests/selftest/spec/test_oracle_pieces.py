"""The oracle's passes in pieces: which samples they are, their sums, and the bounds of what moves several times."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.program import GRADIENTS, Program, backward, forward, load
from bnconform.judge.judgement import can_act, judge
from bnconform.judge.subject import Subject
from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, VirtualBatch
from bnconform.spec.config import Config
from bnconform.spec.exact import arithmetic, exact, floats
from bnconform.spec.formats import parameter_dtype
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Layer
from bnconform.tests.mutants.wrong_virtual import Ghost

SHOWN = ("y", "running_mean", "running_var", "num_batches_tracked")


class GhostOf32(Ghost):
    """A layer that normalises pieces of 32."""

    size = 32


def _lengths(kind: VirtualBatch, samples: int) -> list[int]:
    """Of the pieces, which lie one after the other and leave nothing out."""
    parts = oracle.pieces(SPECIFIED.but(virtual_batch=str(kind)), samples)
    assert parts[0].start == 0 and parts[-1].stop == samples
    assert all(one.stop == other.start for one, other in pairwise(parts))
    return [part.stop - part.start for part in parts]


def test_pieces() -> None:
    """The last one is what is left, or all are of one size but for rounding; what fits in one is one."""
    assert _lengths(VirtualBatch.WHOLE, 1000) == [1000]
    assert _lengths(VirtualBatch.PIECES_OF_32, 70) == [32, 32, 6]
    assert _lengths(VirtualBatch.PIECES_OF_32, 64) == [32, 32]
    assert _lengths(VirtualBatch.PIECES_OF_128, 129) == [128, 1]
    assert _lengths(VirtualBatch.EVEN_PIECES_OF_128, 129) == [65, 64]
    assert _lengths(VirtualBatch.EVEN_PIECES_OF_128, 300) == [100, 100, 100]
    assert all(_lengths(kind, 32) == [32] for kind in VirtualBatch)


def test_each_piece_is_a_batch_of_its_own() -> None:
    """Its output is that of a pass over it alone, in the state that the one before has left, to the last bit."""
    config, point = Config(ndim=2), SPECIFIED.but(virtual_batch="pieces_of_32")
    x, g = exact(inputs.values((70, 3), 1)), exact(inputs.upstream((70, 3)))
    with arithmetic():
        state = oracle.initial_state(config)
        parts = oracle.pieces(point, 70)
        passes = oracle.forward_in_pieces(config, point, state, x, parts)
        gradients = oracle.backward_in_pieces(config, point, state, x, g, parts)
        for part, found, flowing in zip(parts, passes, gradients, strict=True):
            due = oracle.backward(config, SPECIFIED, state, x[part], g[part], training=True)
            assert (found.y == due.forward.y).all() and (flowing.grad_x == due.grad_x).all()
            state = due.forward.state
        assert state.num_batches_tracked == 3 == passes[-1].state.num_batches_tracked
        assert state.running_mean is not None and passes[-1].state.running_mean is not None
        assert (floats(state.running_mean) == floats(passes[-1].state.running_mean)).all()


def _program(dtype: str, *, momentum: float | None = 0.3, last: int = 6) -> Program:
    """A forward and a backward pass over two pieces of 32 and one of some samples more."""
    x, g = inputs.values((64 + last, 3), 4), inputs.upstream((64 + last, 3))
    steps = (load(**inputs.everything(3)), forward(x, *SHOWN), backward(x, g, *GRADIENTS))
    return Program(Config(ndim=2, eps=0.1, momentum=momentum), steps).cast(dtype, parameter_dtype(dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("momentum", [0.3, 1.0, None], ids=str)
def test_layer_in_pieces_is_right_there_and_wrong_elsewhere(dtype: str, momentum: float | None) -> None:
    """Within the bounds of its own point, and beyond those of every other; the right layer the other way round."""
    program = _program(dtype, momentum=momentum)
    own = SPECIFIED.but(virtual_batch="pieces_of_32")
    ghost = Subject("ghost", Mutant("ghost", "a layer", GhostOf32), "cpu", dtype).run(program)
    whole = Subject("whole", Mutant("whole", "a layer", Layer), "cpu", dtype).run(program)
    found = judge(ghost, own)
    assert found.holds and found.checks and found.error_ratio <= 1
    assert not judge(ghost, SPECIFIED).holds
    assert judge(whole, SPECIFIED).holds and not judge(whole, own).holds


def test_last_piece_of_one_value_refuses_the_whole() -> None:
    """Where one value is refused; the specified point has no pieces, and answers."""
    program = _program("float32", last=1)
    ghost = Subject("ghost", Mutant("ghost", "a layer", GhostOf32), "cpu", "float32").run(program)
    assert ghost.steps[1].raised
    assert judge(ghost, SPECIFIED.but(virtual_batch="pieces_of_32")).refusals == 2
    assert judge(ghost, SPECIFIED).crashed


def test_decision_acts_on_large_batches_alone() -> None:
    """A program whose batches have no more samples than the smallest piece is not judged for it."""
    few = Program(Config(ndim=2), (forward(np.ones((32, 3)), "y"),))
    assert not can_act("virtual_batch", SPECIFIED, few)
    assert can_act("virtual_batch", SPECIFIED, _program("float32"))
