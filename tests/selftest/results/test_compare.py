"""A comparison names what differs and which side moved, and nothing that is only rounding."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnconform.judge.error_ratio import error_ratios
from bnconform.judge.judgement import Comparison as Placed
from bnconform.judge.truths.expansion import Expansion
from bnconform.results import comparison as comparisons
from bnconform.results.compare import compare
from bnconform.results.comparison import DRIFT, FACTOR, Number, ResultComparison
from bnconform.results.difference import between
from bnconform.results.observations import place_observation
from bnconform.results.operands import Incomparable
from bnconform.results.result import Difference, Observation, Result
from bnconform.spec.formats import format_of, numpy_dtype
from bnconform.tests.mutants.catalogue import all_right
from bnconform.tests.selftest.observing import move, plant, result_of

SCHEMA = json.loads((Path(comparisons.__file__).parent / "comparison.schema.json").read_text(encoding="utf-8"))

RUN_VAR = "BN-RUN-VAR", "4-values", "running_var"
FINE = "BN-NUM-STABLE", "ratio1e2", "y"
"""Where an ulp is a small part of the bound."""
COARSE = "BN-RUN-MEAN", "2-values", "running_mean"
"""Where an ulp is a third of the bound."""
OUTPUT = "BN-EVAL-STATS", "rank2", "y"


def against(first: Result, second: Result, **options: Any) -> ResultComparison:
    """The comparison of two results, which fits the schema."""
    made = compare(("a.json", first), ("b.json", second), **options)
    data = json.loads(json.dumps(comparisons.to_json([made]), allow_nan=False))
    jsonschema.validate(data, SCHEMA, cls=jsonschema.Draft202012Validator)
    return made


def kinds(made: ResultComparison) -> set[str]:
    """The kinds of all numbers."""
    return {number.kind for pair in made.pairs for number in pair.numbers}


def one(made: ResultComparison, place: tuple[str, str, str]) -> Number:
    """The number of one observation."""
    [found] = [
        number
        for pair in made.pairs
        for number in pair.numbers
        if (number.requirement, number.case, number.name) == place
    ]
    return found


@cache
def truth(place: tuple[str, str, str], dtype: str) -> Placed:
    """The hand-written layer's observation against what is due."""
    [found] = [o for o in result_of("numpy", dtype).observations if (o.requirement, o.case, o.name) == place]
    made = place_observation(found, None)
    assert made is not None
    return made


def off_by(place: tuple[str, str, str], share: float, dtype: str = "float32") -> Any:
    """The observation with one element, the one with the largest bound, that far off."""
    due = truth(place, dtype)
    values = due.exact.nearest.astype(numpy_dtype(dtype))
    index = np.unravel_index(int(np.argmax(due.bound)), values.shape)
    values[index] = float(due.exact.nearest[index]) + share * float(due.bound[index])
    return values


# -- rounding ------------------------------------------------------------------------------------------------------

WEAKER = {"one_pass", "one_pass_in_double", "gradient_by_tape_of_one_pass"}
"""Right at level `must`, but with a variance whose error grows with the condition number."""

WIDER = {"kept_in_double"}
"""Right, but what it shows of its state has another dtype."""

LAYERS = [mutant for mutant in all_right() if not hasattr(mutant, "deploy")]
SAME_ACCURACY = [mutant.name for mutant in LAYERS if mutant.name not in WEAKER | WIDER]


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SAME_ACCURACY)
def test_only_rounding(name: str, dtype: str) -> None:
    """Layers that are right by other means differ by nothing, and none uses the share from which drift is named."""
    made = against(result_of("numpy", dtype), move(result_of(name, dtype), backend="numpy"))
    assert made.status == 0
    assert kinds(made) <= {"rounding", "identical"}
    assert not made.pairs[0].differs and made.pairs[0].compared == len(made.pairs[0].numbers) > 10
    assert max(number.second.share for number in made.pairs[0].numbers if number.second) <= DRIFT


@pytest.mark.parametrize("name", sorted(WEAKER))
def test_weaker_algorithm_is_named(name: str) -> None:
    """A variance whose error grows faster is outside its bound, or drifts, on the ill-conditioned batches alone."""
    made = against(result_of("numpy", "float64"), result_of(name, "float64"))
    found = made.pairs[0].differing
    assert made.status == 1 and {number.kind for number in found} <= {"outside", "drift"}
    assert {number.requirement for number in found} <= {"BN-NUM-STABLE", "BN-NUM-STABLE-GRAD"}
    assert {number.moved for number in found} == {"second"}
    assert any(number.kind == "drift" for number in found)


@st.composite
def _within(draw: st.DrawFn) -> tuple[Placed, Placed]:
    """Two observations of one truth, each of its own dtype and within its own bound."""
    due = np.array([draw(st.floats(-70000, 70000))])

    def side(dtype: str) -> Placed:
        bound = np.array([draw(st.floats(1e-6, 1.0)) * max(1.0, abs(due[0])) + 64.0])
        got = (due + draw(st.floats(-1, 1)) * bound).astype(np.float64)
        with np.errstate(over="ignore"):
            observed = got.astype(numpy_dtype(dtype))
        value = Expansion.of(due)
        ratio = error_ratios(observed, value, bound, format_of(dtype).largest)
        return Placed(0, "y", observed, value, bound, ratio)

    dtype = draw(st.sampled_from(["float64", "float32", "float16"]))
    return side(dtype), side(dtype)


@given(_within())
def test_within_both_bounds_is_within_their_sum(sides: tuple[Placed, Placed]) -> None:
    """Two answers that are right, infinity where the truth may overflow among them, are not apart."""
    left, right = sides
    if left.worst <= 1 and right.worst <= 1:
        apart = between(left, right)
        assert apart.error_ratio <= 1 + 1e-12 and np.isfinite(apart.ulp)


# -- conventions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_declared_convention(dtype: str) -> None:
    """A declared estimator is named with what bears it out, and no other number is."""
    made = against(result_of("numpy", dtype), result_of("Declared", dtype))
    [pair] = made.pairs
    [convention] = pair.conventions
    assert (convention.coordinate, convention.first, convention.second) == ("running_variance", "unbiased", "biased")
    assert (convention.first_by, convention.second_by) == ("specified", "declared")
    assert convention.shown_by and all(label.startswith("BN-RUN-VAR ") for label in convention.shown_by)
    assert [number.label for number in pair.differing] == list(convention.shown_by)
    assert all(number.kind == "convention" for number in pair.differing)
    assert [(v.requirement, v.first, v.second, v.second_says) for v in pair.verdicts] == [
        ("BN-RUN-VAR", "conforms", "deviates", "running_variance = biased")
    ]
    assert made.status == 1


def test_diagnosed_convention() -> None:
    """What is not declared, but diagnosed, is named too; without a diagnosis the side is outside its bound."""
    plain = result_of("Undeclared", "float32")
    made = against(result_of("numpy", "float32"), plain)
    assert one(made, RUN_VAR).kind == "outside" and one(made, RUN_VAR).moved == "second"
    assert not made.pairs[0].conventions
    point = (Difference("running_variance", "biased"),)
    rows = tuple(replace(row, diagnosis=point) if row.verdict == "violates" else row for row in plain.rows)
    made = against(result_of("numpy", "float32"), replace(plain, rows=rows))
    [convention] = made.pairs[0].conventions
    assert (convention.second, convention.second_by) == ("biased", "diagnosed") and convention.shown_by
    number = one(made, RUN_VAR)
    assert number.kind == "convention" and number.second is not None and number.second.point == "diagnosed"
    assert [(v.first, v.second) for v in made.pairs[0].verdicts] == [("conforms", "violates")]


def test_convention_that_nothing_shows() -> None:
    """A declaration that no number bears out is listed as no more than that."""
    made = against(result_of("numpy", "float32"), result_of("Untrue", "float32"))
    [convention] = made.pairs[0].conventions
    assert convention.coordinate == "running_variance" and convention.shown_by == ()
    assert kinds(made) <= {"rounding", "identical"}


def test_statistics_kept_wider() -> None:
    """Running statistics in another dtype are told as that, on both sides within their bounds."""
    made = against(result_of("numpy", "float32"), result_of("kept_in_double", "float32"))
    assert {(number.kind, number.name) for number in made.pairs[0].differing} == {
        ("dtype", "running_mean"),
        ("dtype", "running_var"),
    }


def _declaring(result: Result, **deviations: str) -> Result:
    return replace(result, declarations=tuple(replace(d, deviations=deviations) for d in result.declarations))


def test_each_convention_by_what_shows_it() -> None:
    """Of two decisions in which two differ, a number bears out only the one that it tells apart."""
    declared = {"running_variance": "biased", "initial_running_variance": "zero"}
    made = against(result_of("numpy", "float32"), _declaring(result_of("Declared", "float32"), **declared))
    shown = {convention.coordinate: convention.shown_by for convention in made.pairs[0].conventions}
    assert set(shown) == set(declared) and not shown["initial_running_variance"]
    assert len(shown["running_variance"]) == 2


def test_declaration_that_one_side_has_left() -> None:
    """Two that declare the same and do not do the same are told apart by what they answer."""
    left = _declaring(result_of("numpy", "float32"), running_variance="biased")
    made = against(result_of("Declared", "float32"), move(left, backend="Declared"))
    [convention] = made.pairs[0].conventions
    assert (convention.first, convention.second) == ("biased", "unbiased")
    assert (convention.first_by, convention.second_by) == ("declared", "specified") and len(convention.shown_by) == 2


def test_another_dtype() -> None:
    """An answer in another dtype is told as such where input and parameters differ, and nowhere else."""
    halves, full = (
        against(
            result_of("numpy", dtype),
            _declaring(result_of("output_dtype=parameter", dtype), output_dtype="parameter"),
        )
        for dtype in ("bfloat16", "float32")
    )
    assert full.pairs[0].conventions == () and kinds(full) <= {"rounding", "identical"}
    [convention] = halves.pairs[0].conventions
    assert convention.coordinate == "output_dtype" and convention.shown_by
    found = one(halves, OUTPUT)
    assert found.kind == "dtype" and found.first and found.second
    assert (found.first.dtype, found.second.dtype) == ("bfloat16", "float32")
    assert {number.name for number in halves.pairs[0].differing} == {"y"}


# -- which side moved ----------------------------------------------------------------------------------------------


def test_wrong_element() -> None:
    """The side with a wrong element is named, whichever it is, at that element and with both numbers."""
    right = result_of("numpy", "float32")
    wrong = plant(right, FINE, off_by(FINE, 3.0))
    for made, side in ((against(right, wrong), "second"), (against(wrong, right), "first")):
        [number] = made.pairs[0].differing
        assert (number.kind, number.moved, number.level) == ("outside", side, "should")
        measure = getattr(number, side)
        assert measure.share == pytest.approx(3, rel=0.05) and number.share == pytest.approx(1.5, rel=0.05)
        index = np.unravel_index(int(np.argmax(truth(FINE, "float32").bound)), (32, 3))
        assert number.index == tuple(map(int, index))
        assert abs(measure.got - measure.due) == pytest.approx(3 * float(truth(FINE, "float32").bound[index]), rel=0.05)
        assert made.status == 1 and not made.pairs[0].verdicts


def test_both_outside() -> None:
    """Two that are equally wrong do not differ; two that are wrong each in its way do."""
    right = result_of("numpy", "float32")
    there, near, away = (plant(right, FINE, off_by(FINE, share)) for share in (3.0, 3.2, -3.0))
    assert one(against(there, there), FINE).kind == "identical"
    alike = against(there, near)
    assert (one(alike, FINE).kind, one(alike, FINE).moved, alike.status) == ("alike", "both", 0)
    apart = against(there, away)
    assert (one(apart, FINE).kind, one(apart, FINE).moved, apart.status) == ("outside", "both", 1)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_not_a_number(lost: float) -> None:
    """NaN and infinity in place of a number are outside any bound, and alike where both have them."""
    right = result_of("numpy", "float32")
    values = off_by(FINE, 0.0)
    values[3, 1] = lost
    wrong = plant(right, FINE, values)
    number = one(against(right, wrong), FINE)
    assert (number.kind, number.moved, number.index) == ("outside", "second", (3, 1))
    values = values.copy()
    values[0, 0] = np.nextafter(values[0, 0], np.float32(9))
    assert one(against(wrong, plant(right, FINE, values)), FINE).kind == "alike"


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (0.05, 0.30, "drift"),
        (0.30, 0.05, "drift"),
        (0.40, 0.95, "drift"),
        (0.05, 0.20, "rounding"),
        (0.30, 0.50, "rounding"),
        (0.95, 1.05, "outside"),
    ],
)
def test_drift_within_the_bound(before: float, after: float, kind: str) -> None:
    """Drift is twice the error, above what roundings alone do; the side that is further off is named."""
    right = result_of("numpy", "float32")
    made = against(*(plant(right, FINE, off_by(FINE, share)) for share in (before, after)))
    number = one(made, FINE)
    assert number.kind == kind
    assert number.moved == ("" if kind == "rounding" else "second" if after > before else "first")
    assert made.status == (0 if kind == "rounding" else 1)
    assert (max(before, after) > max(DRIFT, FACTOR * min(before, after))) == (kind == "drift") or kind == "outside"


def test_an_ulp_is_luck() -> None:
    """An error of one ulp is not called twice that of an answer that happens to be nearer."""
    right = result_of("numpy", "float32")
    nearest, next_to_it = (plant(right, COARSE, off_by(COARSE, share)) for share in (0.0, 0.45))
    number = one(against(nearest, next_to_it), COARSE)
    assert number.first and number.second
    assert number.second.share > max(DRIFT, FACTOR * number.first.share)
    assert number.second.ulp < 2 and number.kind == "rounding"


def test_single_precision_is_named_in_double() -> None:
    """Double answers that went through single precision are outside their bounds, on the side that did it."""
    right = result_of("numpy", "float64")
    narrow = right
    for place in (FINE, OUTPUT, RUN_VAR):
        narrow = plant(narrow, place, off_by(place, 0.0, "float64").astype(np.float32).astype(np.float64))
    made = against(right, narrow)
    assert {number.moved for number in made.pairs[0].differing} == {"second"}
    assert {number.kind for number in made.pairs[0].differing} == {"outside"}


# -- what cannot be known ------------------------------------------------------------------------------------------


def _change(result: Result, place: tuple[str, str, str], **changes: Any) -> Result:
    return replace(
        result,
        observations=tuple(
            replace(o, **changes) if (o.requirement, o.case, o.name) == place else o for o in result.observations
        ),
    )


def test_unknown() -> None:
    """Other programs, programs of another version and what one side lacks are said, and are no difference."""
    right = result_of("numpy", "float32")
    other = _change(right, FINE, program="0" * 64)
    made = against(right, other)
    assert (one(made, FINE).kind, made.status) == ("unknown", 0) and "different programs" in one(made, FINE).says
    assert one(against(other, other), FINE).kind == "identical"
    made = against(other, _change(plant(right, FINE, off_by(FINE, 0.3)), FINE, program="0" * 64))
    assert one(made, FINE).kind == "unknown" and "does not know" in one(made, FINE).says
    fewer = replace(right, observations=tuple(o for o in right.observations if o.requirement != FINE[0]))
    made = against(right, fewer)
    assert (one(made, FINE).kind, made.status) == ("unknown", 0)
    assert one(made, FINE).says == "answered on one side only (conforms | conforms)"


def test_no_observations() -> None:
    """A file of an earlier version gives its verdicts and a warning; alone that is not enough to pass."""
    right, old = result_of("numpy", "float32"), replace(result_of("numpy", "float32"), observations=())
    made = against(right, old)
    assert made.status == 2 and made.pairs[0].judged > 5
    assert len(made.warnings) == 1 and "b.json has no observations" in made.warnings[0]
    rows = (replace(old.rows[0], verdict="violates"), *old.rows[1:])
    made = against(right, replace(old, rows=rows))
    assert (made.status, len(made.pairs[0].verdicts)) == (1, 1)


def test_nothing_that_can_be_placed() -> None:
    """Observations of which none has a partner are no comparison."""
    right = result_of("numpy", "float32")
    gone = replace(right, observations=tuple(replace(o, case=f"{o.case}-gone") for o in right.observations))
    made = against(right, gone)
    assert made.status == 2 and "no observation in common" in made.warnings[0]


# -- verdicts and pairs --------------------------------------------------------------------------------------------


def test_verdicts_worst_first() -> None:
    """Crashes come before violations before what is unsupported; another diagnosis of one verdict is a difference."""
    right = result_of("numpy", "float32")
    names = sorted(row.requirement for row in right.rows if row.level == "must")[:4]
    verdicts = dict(zip(names, ("unsupported", "violates", "crashed", "violates"), strict=True))
    rows = tuple(replace(row, verdict=verdicts.get(row.requirement, row.verdict)) for row in right.rows)
    found = against(right, replace(right, rows=rows)).pairs[0].verdicts
    assert [verdict.second for verdict in found] == ["crashed", "violates", "violates", "unsupported"]
    point = (Difference("running_mean", "bessel_scaled"),)
    others = tuple(replace(row, diagnosis=point) if row.verdict == "violates" else row for row in rows)
    found = against(replace(right, rows=rows), replace(right, rows=others)).pairs[0].verdicts
    assert [(v.first, v.second, v.second_says) for v in found] == [
        ("violates", "violates", "running_mean = bessel_scaled")
    ] * 2


def test_another_policy() -> None:
    """Of a requirement that leaves open what to do, another thing that is done is a difference, and told."""
    right = result_of("numpy", "float32")
    name = right.rows[0].requirement
    rows = tuple(
        replace(row, level="may", message="contiguous") if row.requirement == name else row for row in right.rows
    )
    others = tuple(replace(row, message="the format of x") if row.requirement == name else row for row in rows)
    (found,) = against(replace(right, rows=rows), replace(right, rows=others)).pairs[0].verdicts
    assert (found.requirement, found.first_says, found.second_says) == (name, "contiguous", "the format of x")
    assert against(replace(right, rows=rows), replace(right, rows=rows)).pairs[0].verdicts == ()


def test_judged_on_one_side() -> None:
    """What only one run asked is told and is no difference."""
    right = result_of("numpy", "float32")
    made = against(right, replace(right, rows=right.rows[1:]))
    assert made.pairs[0].first_only == (right.rows[0].requirement,) and made.status == 0


def test_another_device() -> None:
    """A backend on a GPU is compared with itself on the CPU, and what differs in the environment is told."""
    right = result_of("numpy", "float32")
    made = against(right, move(right, device="cuda:0"))
    assert [(pair.first, pair.second) for pair in made.pairs] == [(("numpy", "cpu"), ("numpy", "cuda:0"))]
    assert made.status == 0 and kinds(made) == {"identical"}
    assert made.environment == (("device cpu", "a CPU", "none"), ("device cuda:0", "none", "a cuda:0"))
    wrong = move(plant(right, RUN_VAR, off_by(RUN_VAR, 2.0)), device="cuda:0")
    assert [number.moved for number in against(right, wrong).pairs[0].differing] == ["second"]


def test_observations_that_are_no_arrays_are_refused_by_name() -> None:
    """The line names the file, the observation and the subject."""
    right = result_of("numpy", "float32")
    first = right.observations[0]
    bad = replace(right, observations=(_with_bytes(first, ""), *right.observations[1:]))
    words = rf"^b\.json: the observation {first.requirement} {first.case} {first.name} of numpy:cpu in float32: "
    with pytest.raises(Incomparable, match=words):
        against(right, bad)


def _with_bytes(observation: Observation, data: str) -> Observation:
    return replace(observation, array={**observation.array, "data": data})
