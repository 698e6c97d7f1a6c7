"""Options outside of their ranges, and options that are set: as programs, as files, as judged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bnconform.backends.numpy_layer import NumpyBackend
from bnconform.cases import casefile
from bnconform.cases.casefile import CaseError
from bnconform.cases.program import Program, build, forward, load, set_options
from bnconform.judge.judgement import judge
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config

X = np.arange(12.0).reshape(4, 3)
CONFIG = Config(ndim=2, momentum=0.25, eps=0.5)


def test_options_outside_their_ranges_are_sent_as_they_are() -> None:
    """The side that executes is asked for them, and the key tells them apart."""
    plain = Program(CONFIG, (forward(X),))
    outside = Program(CONFIG, (forward(X),), outside=(("eps", math.nan), ("num_features", 0)))
    sent = outside.message()
    assert math.isnan(sent["config"]["eps"]) and sent["config"]["num_features"] == sent["num_features"] == 0
    assert outside.key != plain.key
    assert "any_options" in outside.features() and "any_options" not in plain.features()
    with pytest.raises(ValueError, match="affine"):
        Program(CONFIG, (forward(X),), outside=(("affine", 2),))


@pytest.mark.parametrize(
    ("options", "feature"),
    [
        ({"momentum": None}, "momentum_none"),
        ({"track_running_stats": False}, "track_running_stats_off"),
        ({"eps": 1.0}, ""),
    ],
    ids=["none", "tracking", "eps"],
)
def test_a_set_step_needs_what_it_sets(options: dict[str, Any], feature: str) -> None:
    """It asks for the ability, and for what the new value is called among the features."""
    assert Program(CONFIG, (set_options(**options),)).features() >= {"set", *([feature] if feature else [])}
    with pytest.raises(ValueError, match="options"):
        set_options()
    with pytest.raises(ValueError, match="options"):
        set_options(affine=True)


def test_a_set_step_in_a_file() -> None:
    """It is read as it was written; what is out of range is refused in one line."""
    program = Program(CONFIG, (set_options("running_mean", momentum=None, eps=0.125),)).cast("float32", "float32")
    data = casefile.to_json("BN-SET-EPS", "case", program, "")
    assert casefile.from_json(data)[2].steps[0].options == {"momentum": None, "eps": 0.125}
    data["steps"][0]["options"]["momentum"] = 3
    with pytest.raises(CaseError, match="momentum is 3"):
        casefile.from_json(data)


@pytest.mark.parametrize("option", ["momentum", "eps", "track_running_stats"])
def test_what_is_set_is_what_is_due(option: str) -> None:
    """A right layer holds at what was set last, and one that was not told does not."""
    value = False if option == "track_running_stats" else 0.75
    x = forward(X + 1, "y", "running_mean", "num_batches_tracked")
    steps = load(running_mean=np.ones(3)), set_options(**{option: value}), x
    program = Program(CONFIG, steps).cast("float32", "float32")
    right = Subject("numpy", NumpyBackend(), "cpu", "float32").run(program)
    assert judge(right, SPECIFIED).holds

    class Deaf(NumpyBackend):
        def build(self, config: Any, device: str) -> Any:
            layer = super().build(config, device)
            layer.set = lambda **options: None  # type: ignore[method-assign]
            return layer

    assert not judge(Subject("deaf", Deaf(), "cpu", "float32").run(program), SPECIFIED).holds


def test_a_new_layer_has_the_options_of_the_program() -> None:
    """What was set belongs to the layer; one that is built later has none of it."""
    steps = set_options(eps=8.0), forward(X, "y"), forward(X, "y")
    program = Program(CONFIG, (*steps[:2], build(), steps[2])).cast("float32", "float32")
    assert judge(Subject("numpy", NumpyBackend(), "cpu", "float32").run(program), SPECIFIED).holds
