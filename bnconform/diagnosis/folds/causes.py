"""Why a tool deploys a model wrongly: the wrong fold that reproduces what it predicts, and the pattern it is made at.

`note` looks at one failing check, as long as what the tool showed is at hand; `diagnose` gathers the failing checks of
a tool by cause. Where no wrong fold of the family reproduces a prediction, its cause is told by what the failing models
have and the passing ones lack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

from bnconform.cases.models.build import sample
from bnconform.cases.models.rows import ModelCase, by_requirement, network
from bnconform.diagnosis.folds.drafts import NORM, Draft, Site
from bnconform.diagnosis.folds.family import WrongFold, folds
from bnconform.diagnosis.folds.float_networks import results
from bnconform.diagnosis.folds.patterns import common, groups, join, pattern, surroundings
from bnconform.diagnosis.folds.search import Seen, reproductions
from bnconform.execution.deployment_trace import DeploymentRequest
from bnconform.judge import deployments
from bnconform.judge.merged_layers import MERGED
from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, VIOLATES, Outcome
from bnconform.judge.subject import Ended, Subject
from bnconform.results.failure import Failure
from bnconform.results.result import Diagnosis

WITHOUT = "what it predicts is wrong without its BatchNorms, too"
"""What is told of a model whose fault has to do with no BatchNorm."""

UNKNOWN = "no wrong fold that is known gives what it predicts"
"""What is told of numbers that nothing reproduces."""


OF_OTHERS = ("prediction of ", "prediction beside ")
"""What the predictions are called that are not the first one's."""


def note(outcome: Outcome, subject: Subject) -> None:
    """Write into the outcome of a failing check which wrong folds reproduce what was predicted, and where.

    Each as {"words": what each of the folds does that together reproduce it, "sites": [[nodes, BatchNorm], ...]}. A
    model that the tool deploys wrongly without its BatchNorms, too, has no other cause looked for.
    """
    case = next((one for one in by_requirement().get(outcome.requirement, ()) if one.number == outcome.model), None)
    if case is None or subject.brief:
        return
    trace = subject.deploy_tool((case.number, subject.dtype))
    wrong = deployments.wrong_prediction(case, trace, subject) if trace is not None else None
    if wrong is None:
        return
    admitted = deployments.list_admitted(subject)[-1]
    if _is_wrong_without_norms(case, subject, admitted):
        outcome.folds = [{"words": [WITHOUT], "sites": []}]
        return
    seen = Seen(case.graph(subject.dtype), *wrong, case.example(subject.dtype), admitted.single_epsilon, admitted.lower)
    found = reproductions(seen)
    outcome.folds = [
        {"words": list(one.words), "sites": [[list(site.nodes), site.norm] for site in one.sites]} for one in found
    ]


def _is_wrong_without_norms(case: ModelCase, subject: Subject, admitted: deployments.Admitted) -> bool:
    """Whether the tool's prediction of the model without its BatchNorms is wrong; False where it has none."""
    network = case.graph(subject.dtype).without(NORM)
    if network is None:
        return False
    x = sample(network)
    request = DeploymentRequest(network, case.example(subject.dtype), (x,))
    try:
        trace = subject.deploy(("without BatchNorms", case.number, subject.dtype), request)
    except Ended:
        return False
    if not trace.predictions or trace.predictions[0].y is None:
        return False
    due = deployments.truth(network, len(x), False, admitted)
    return deployments.compare(trace.predictions[0], due).worst > 1


def diagnose(outcomes: Sequence[Outcome], failing: Sequence[int]) -> list[tuple[list[int], str, bool]]:
    """The failing checks of one tool by cause: (their numbers, the cause in words, whether it was found).

    Args:
        outcomes: all checks of a run. failing: the numbers of those of this tool that fail.
    """
    backend = outcomes[failing[0]].backend
    mine = [outcome for outcome in outcomes if outcome.backend == backend]
    rest, found = list(failing), []
    while rest:
        words = _most(outcomes, rest)
        if words == WITHOUT:
            group = [i for i in rest if words in _words(outcomes[i])]
            found += _group_unexplained(words, outcomes, group, mine)
        elif words:
            group = [i for i in rest if words in _words(outcomes[i])]
            found.append((group, _explanation(words, [outcomes[i] for i in group], mine), True))
        else:
            seen = _symptom(outcomes[rest[0]])
            group = [i for i in rest if _symptom(outcomes[i]) == seen]
            found += _group_unexplained(seen, outcomes, group, mine)
        rest = [i for i in rest if i not in group]
    return found


def diagnosis(backend: str, group: Sequence[int], total: int, text: str, *, known: bool) -> Diagnosis:
    """A cause as the result keeps it."""
    checks = f"{len(group)} of {total} failing check{'' if total == 1 else 's'}"
    return Diagnosis(backend, (), len(group) if known else 0, total, f"{text} ({checks})")


def _words(outcome: Outcome) -> list[str]:
    return [words for entry in outcome.folds for words in entry["words"]]


def _most(outcomes: Sequence[Outcome], rest: Sequence[int]) -> str:
    """The wrong fold that explains most of the failing checks; of several the one that stands first in the family."""
    counts: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for i in rest:
        for place, words in enumerate(_words(outcomes[i])):
            counts[words] += 1
            places[words] += place
    if not counts:
        return ""
    return min(counts, key=lambda words: (-counts[words], places[words], words))


def _explanation(words: str, failing: Sequence[Outcome], every: Sequence[Outcome]) -> str:
    """A wrong fold with the pattern at which it is made, and what else decides whether it is."""
    patterns: set[tuple[str, ...]] = set()
    for outcome in failing:
        assert outcome.model is not None
        sites = next((one["sites"] for one in outcome.folds if one["words"][0] == words), ())
        shown = network(outcome.model, "float32")
        patterns |= {pattern(shown, Site(tuple(nodes), norm)) for nodes, norm in sites}
    fold = next((one for one in folds("float64") if one.words == words), None)
    right = _right(every)
    if fold is not None:
        right = {number for number in right if patterns & _patterns(fold, number)}
    told = common(_models(failing), right, ("order", "layer", *(fold.about if fold else ())))
    return f"{', '.join([join(patterns) or 'every model', *told])}: {words}"


def _patterns(fold: WrongFold, number: int) -> set[tuple[str, ...]]:
    """The patterns at which a fold could be made of a model."""
    shown = network(number, "float32")
    return {pattern(shown, site) for site in fold.where(Draft.of(shown, shapes(number)))}


@cache
def shapes(number: int) -> Mapping[str, tuple[int, ...]]:
    """The shape of each result of a model."""
    shown = network(number, "float32")
    return {name: value.shape for name, value in results(shown, sample(shown)).items()}


def _group_unexplained(
    seen: str, outcomes: Sequence[Outcome], group: Sequence[int], every: Sequence[Outcome]
) -> list[tuple[list[int], str, bool]]:
    """Failures that no wrong fold reproduces, by what the models have that fail and the passing ones lack."""
    found: list[tuple[list[int], str, bool]] = []
    for models, words in groups(_models([outcomes[i] for i in group]), _right(every)):
        members = [i for i in group if outcomes[i].model in models]
        where = words or join(surroundings(number) for number in models)
        found.append((members, f"{where}: {seen or UNKNOWN}", bool(seen or words)))
    return found


def _models(outcomes: Sequence[Outcome]) -> set[int]:
    return {outcome.model for outcome in outcomes if outcome.model is not None}


def _right(every: Sequence[Outcome]) -> set[int]:
    """The models of which every check holds, and some prediction was compared."""
    bad = _models([outcome for outcome in every if outcome.verdict in (VIOLATES, CRASHED)])
    return _models([one for one in every if one.verdict in (CONFORMS, DEVIATES) and one.bound_share is not None]) - bad


def _symptom(outcome: Outcome) -> str:
    """What was seen that is no number that is off, as words that are alike for alike failures; "" for a number."""
    failure: Failure | None = outcome.failure
    if failure is None:
        return outcome.headline
    if failure.problems:
        text = failure.problems[0]
        return "a prediction of another shape than is due" if text.startswith("a prediction of shape") else text
    if failure.quantity is not None and not isinstance(failure.quantity.got, float):
        got, due = failure.quantity.got, failure.quantity.expected
        what = failure.quantity.what
        if what.endswith("after it was deployed"):
            given = "the input of a prediction" if what.startswith("the input") else "the original model"
            return f"{given} is changed"
        return f"{what} is {got} where {due} is due"
    if failure.quantity is not None and failure.quantity.what.startswith(MERGED):
        part = "bias" if failure.quantity.what.startswith(f"{MERGED}bias") else "weight"
        return f"the {part} of a layer that a BatchNorm was merged into is off, and no prediction shows it"
    if failure.quantity is not None and failure.quantity.what.startswith(OF_OTHERS):
        return f"only the {failure.quantity.what.split('[')[0]} is off"
    return ""
