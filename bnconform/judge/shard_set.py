"""The shards of a run as one result: what one run would have made of all of their checks.

What the checks recorded is put together in the order of the plan, and then judged and explained as at the end of a
run. So the verdicts, error ratios and counts are those of a run that was not divided. The causes are sought by each
shard for itself, from the failures that it met.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bnconform.diagnosis import causes
from bnconform.judge import declarations
from bnconform.judge.outcome import Outcome
from bnconform.judge.subject import Subject
from bnconform.judge.suite_run import Checks, PlannedCheck, left_out
from bnconform.results import run_result
from bnconform.results.completeness import ENDINGS, Column, ColumnSelection, Completion, SelectionRecord
from bnconform.results.joining import JoinError, environment_of
from bnconform.results.result import Result
from bnconform.results.shard import CheckCounts, RecordedCheck, Shard, Share
from bnconform.results.visible import cut_names
from bnconform.spec.catalogue import requirements

Named = tuple[str, Result]
"""The name of a file, and what it holds."""

NAMED = 3
"""Files that are named of a set."""


@dataclass(frozen=True)
class _Declaring:
    """A backend as `declarations.stale` looks at it."""

    name: str
    key: str
    deviations: Mapping[str, str]


def shard_of(
    share: Share,
    subjects: Sequence[Subject],
    plan: Sequence[PlannedCheck],
    counted: tuple[Checks, Checks, Checks],
    recorded: Iterable[tuple[str, Outcome]],
) -> Shard:
    """What a run keeps in its file so that it can be put together with the other shards.

    Args:
        plan: every check of the whole suite. counted: how many are planned, selected and finished, by place.
        recorded: the id of each check's test, with an outcome of it, before anything explains it.
    """
    planned, selected, finished = counted
    counts: dict[Column, dict[str, CheckCounts]] = {}
    for one in subjects:
        places = ((name, (one.label, name)) for name in requirements())
        counts[one.name, one.device, one.dtype] = {
            name: CheckCounts(planned[place], selected[place], finished[place])
            for name, place in places
            if planned[place]
        }
    names = [check.name for check in plan]
    order = {name: place for place, name in enumerate(names)}
    placed = ((order.get(read_brackets(node)), outcome) for node, outcome in recorded)
    kept = [RecordedCheck(place, outcome.record()) for place, outcome in placed if place is not None]
    kept.sort(key=lambda one: one.place)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return Shard(share, digest, {one.name: one.key for one in subjects}, counts, tuple(kept))


def read_brackets(node: str) -> str:
    """What stands in the brackets of a test's id."""
    return node[node.find("[") + 1 : -1]


def whole(results: Sequence[Named]) -> list[Named]:
    """The results, with one in the place of all shards of a run.

    Where a shard is missing, the result says so and is unfinished.

    Raises:
        JoinError: for a shard that is there twice, or that belongs to none of the others although it judges the same.
    """
    sets: dict[object, list[Named]] = {}
    for name, result in results:
        key: object = (name, len(sets)) if result.shard is None else tuple(_identity(result).items())
        sets.setdefault(key, []).append((name, result))
    shards = [members for members in sets.values() if members[0][1].shard is not None]
    for members in shards:
        _refuse_doubles(members)
    for members in shards:
        if _missing(members):
            _refuse_foreign(members, [other for other in shards if other is not members])
    return [
        (_name([name for name, _ in members]), _join(members)) if members[0][1].shard else members[0]
        for members in sets.values()
    ]


def _identity(result: Result) -> dict[str, str]:
    """What the shards of one run have in common, each in words."""
    assert result.shard is not None
    one = result.environment
    narrowed = result.selection.narrowed_by if result.selection else ()
    return {
        "shards": str(result.shard.share.of),
        "checks": result.shard.plan,
        "selected by": " ".join(word for word in narrowed if word != _word(result.shard.share)) or "nothing",
        "bnconform": one.bnconform,
        "Python": one.python,
        **dict(sorted(one.packages.items())),
    }


def _word(share: Share) -> str:
    return f"--shard {share}"


def _name(names: Sequence[str]) -> str:
    if len(names) <= NAMED:
        return " + ".join(names)
    return f"{names[0]} and {len(names) - 1} more shards"


def _shares(members: Sequence[Named]) -> list[Share]:
    return [result.shard.share for _, result in members if result.shard]


def _missing(members: Sequence[Named]) -> list[Share]:
    there = _shares(members)
    return [one for number in range(1, there[0].of + 1) if (one := Share(number, there[0].of)) not in there]


def _refuse_doubles(members: Sequence[Named]) -> None:
    seen: dict[Share, str] = {}
    for (name, _), share in zip(members, _shares(members), strict=True):
        if share in seen:
            raise JoinError(f"{seen[share]} and {name} are both shard {share}; give each shard of a run once")
        seen[share] = name


def _refuse_foreign(members: Sequence[Named], others: Sequence[Sequence[Named]]) -> None:
    """Refuse an incomplete set beside another one of the same columns: one of the two holds what the other lacks."""
    name, result = members[0]
    for other in others:
        there, second = other[0]
        if not set(_columns(result)) & set(_columns(second)):
            continue
        mine, theirs = _identity(result), _identity(second)
        differs = [
            word if word == "checks" else f"{word} {mine.get(word, 'none')} and {theirs.get(word, 'none')}"
            for word in dict.fromkeys([*mine, *theirs])
            if mine.get(word) != theirs.get(word)
        ]
        raise JoinError(
            f"{name} and {there} are shards of two runs, which differ in {cut_names(differs)}; "
            "make all shards with one command, one version and one environment"
        )


def _columns(result: Result) -> list[Column]:
    return list(result.shard.counts) if result.shard else []


def _join(members: Sequence[Named]) -> Result:
    """One result of the shards of one run."""
    results = [result for _, result in members]
    first = results[0]
    assert first.shard is not None
    outcomes = _without_repetition(_outcomes(results))
    missing = _missing(members)
    selection, completion = _completeness(results, [str(share) for share in missing])
    whole_run = completion.complete and not missing and not selection.dtypes
    keys = {name: key for result in results if result.shard for name, key in result.shard.keys.items()}
    declaring = [_Declaring(one.backend, keys.get(one.backend, ""), one.deviations) for one in first.declarations]
    outcomes, diagnoses = causes.diagnose([*outcomes, *declarations.stale(outcomes, declaring, whole_run)])
    observations = sorted(
        (one for result in results for one in result.observations), key=lambda one: (one.backend, one.device, one.place)
    )
    return Result(
        environment_of([result.environment for result in results]),
        run_result.rows(outcomes),
        tuple(diagnoses),
        tuple(observations),
        first.declarations,
        selection,
        completion,
        failed=run_result.checks_that_failed(outcomes),
    )


def _outcomes(results: Iterable[Result]) -> list[Outcome]:
    """What all checks recorded, in the order of the plan."""
    recorded = [one for result in results if result.shard for one in result.shard.recorded]
    return [Outcome.from_record(one.outcome) for one in sorted(recorded, key=lambda one: one.place)]


def _without_repetition(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes, those on a changed input that were seen aside once for each change, as one process records them."""
    seen: set[tuple[str, str, str, str]] = set()
    kept = []
    for outcome in outcomes:
        change = outcome.backend, outcome.device, outcome.dtype, outcome.mutation
        if not (outcome.aside and change in seen):
            kept.append(outcome)
        if outcome.mutation:
            seen.add(change)
    return kept


def _completeness(results: Sequence[Result], missing: Sequence[str]) -> tuple[SelectionRecord, Completion]:
    """What was asked for and how far it came, all together."""
    planned: Checks = Counter()
    selected: Checks = Counter()
    finished: Checks = Counter()
    columns: list[Column] = []
    for number, result in enumerate(results):
        assert result.shard is not None
        for column, counts in result.shard.counts.items():
            if number == 0:
                columns.append(column)
            for name, one in counts.items():
                place = _label(column), name
                planned[place] = one.planned
                selected[place] += one.selected
                finished[place] += one.finished
    first = results[0].selection
    assert first is not None and results[0].shard is not None
    word = _word(results[0].shard.share)
    selection = replace(
        first,
        narrowed_by=tuple(given for given in first.narrowed_by if given != word),
        columns=tuple(
            ColumnSelection(
                *column,
                tuple(name for name in requirements() if selected[_label(column), name]),
                left_out(_label(column), planned, finished),
            )
            for column in columns
        ),
        missing=tuple(missing),
    )
    ended = max((one.completion.ended for one in results if one.completion), key=ENDINGS.index)
    return selection, Completion(ended, planned.total(), selected.total(), finished.total())


def _label(column: Column) -> str:
    return f"{column[0]}:{column[1]}-{column[2]}"
