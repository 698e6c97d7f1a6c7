"""What a run keeps number by number: it survives the file, and is placed against the truth as the run judged it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnconform.backends import registry
from bnconform.cases.probes import cases_of, probes
from bnconform.cases.probes.observed import OBSERVED
from bnconform.cases.program import Probe
from bnconform.judge.check import Check, conduct
from bnconform.judge.subject import Subject
from bnconform.results import result as results
from bnconform.results.observations import UnreadableObservation, decode, encode, place_observation
from bnconform.results.result import Declaration, Environment, Observation, Result
from bnconform.results.run_result import declarations, row
from bnconform.spec.catalogue import requirement
from bnconform.spec.formats import DTYPES, numpy_dtype

NAMED = [(identifier, name) for identifier, names in OBSERVED.items() for name in names]


@pytest.mark.parametrize(("identifier", "name"), NAMED)
def test_every_one_is_a_probe_whose_truth_follows_from_the_program(identifier: str, name: str) -> None:
    """It exists, and nothing that is computed comes before what it observes."""
    probe = next(probe for probe in probes()[identifier] if probe.name == name)
    *before, last = probe.program.steps
    assert last.observe and last.x is not None and last.x.size <= 500
    assert all(step.op in ("build", "load") and not step.observe for step in before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_survive(dtype: str) -> None:
    """Every value of a dtype comes back, NaN and both zeros among them."""
    values = np.array([[1.5, -0.0, 0.0], [np.inf, np.nan, 2.0**-14]]).astype(numpy_dtype(dtype))
    again = decode(encode(values))
    assert (again.dtype, again.shape, again.tobytes()) == (values.dtype, values.shape, values.tobytes())


@pytest.mark.parametrize("data", ["", "AAA", "????", "AAAAAAAA"])
def test_wrong_bytes_are_refused(data: str) -> None:
    """What is no array of its shape is said to be none."""
    with pytest.raises(UnreadableObservation, match=r"no float32 array of shape \[3\]"):
        decode({"dtype": "float32", "shape": [3], "data": data})


def _judge(name: str, dtype: str) -> tuple[Subject, list[Any]]:
    subject = Subject(name, registry.load(name), "cpu", dtype)
    outcomes = []
    for identifier, wanted in OBSERVED.items():
        for case in cases_of(identifier, dtype):
            if case.name in wanted and isinstance(case, Probe):
                outcomes += conduct(Check.run, Check(subject, requirement(identifier), case))
    return subject, outcomes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["numpy", "documents.manual_normalization"])
def test_placed_as_judged(name: str, dtype: str, tmp_path: Path) -> None:
    """The truth that is computed again from a file is the one that the run judged by, at the declared point."""
    subject, outcomes = _judge(name, dtype)
    outcomes = [outcome for outcome in outcomes if outcome.observed]
    assert outcomes or dtype in subject.unsupported
    kept = tuple(Observation.of(o.backend, o.device, o.dtype, entry) for o in outcomes for entry in o.observed)
    environment = Environment("3", "here", "0", {}, {"cpu": "a CPU"}, "2026-01-01T00:00:00+00:00", 1.0)
    whole = Result(environment, results.merge(map(row, outcomes)), (), kept, declarations([subject]))
    results.write(tmp_path / "r.json", whole)
    again = results.read(tmp_path / "r.json")
    assert again == whole and len(kept) >= len(outcomes)
    (declared,) = again.declarations
    assert declared.deviations == subject.deviations
    for outcome in outcomes:
        mine = [o for o in again.observations if (o.requirement, o.case) == _place(outcome)]
        # What conforms was judged at the specified point, whatever is declared.
        judged_at = declared if outcome.verdict == "deviates" else replace(declared, deviations={})
        shares = [found.worst for one in mine if (found := place_observation(one, judged_at)) is not None]
        assert max(shares) == outcome.bound_share


def _place(outcome: Any) -> tuple[str, str]:
    entry = outcome.observed[0]
    return entry["requirement"], entry["case"]


def test_what_is_not_of_this_version_is_not_placed() -> None:
    """Another program under the same name, or a case that is gone, has no truth here; a wrong shape is refused."""
    _, outcomes = _judge("numpy", "float32")
    first = outcomes[0]
    one = Observation.of(first.backend, first.device, first.dtype, first.observed[0])
    assert place_observation(one, None) is not None
    assert place_observation(replace(one, program="0" * 64), None) is None
    assert place_observation(replace(one, case="gone"), None) is None
    assert place_observation(replace(one, step=7), None) is None
    with pytest.raises(UnreadableObservation, match="its shape is"):
        place_observation(replace(one, array=encode(np.zeros((2, 2), np.float32))), None)
    with pytest.raises(ValueError, match="colour"):
        place_observation(one, Declaration("numpy", "cpu", {"colour": "red"}, {}))
