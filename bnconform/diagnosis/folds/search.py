"""Which wrong fold reproduces what a tool predicted, within the bound of that fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from bnconform.diagnosis.folds.drafts import Draft, Site
from bnconform.diagnosis.folds.family import WrongFold, folds
from bnconform.diagnosis.folds.float_networks import batch_statistics, results
from bnconform.spec.error_bounds.networks import errors
from bnconform.spec.exact import arithmetic, exact, floats
from bnconform.spec.formats import numpy_dtype
from bnconform.spec.graph import Array, Graph
from bnconform.spec.oracle.networks import evaluate

NEARER = 0.25
"""A prediction of a wrong fold must be nearer to what was seen, by this factor, than what is due is."""

LOWER: Mapping[str, Sequence[str]] = {
    "float64": ("float32", "float16", "bfloat16"),
    "float32": ("float16", "bfloat16"),
}
"""The formats in which a tool may compute in the place of the model's, the most exact first."""

TELLING = 0.1
"""What a lower format's bound may be, over the spread of the prediction, so that agreement with it says anything."""


@dataclass(frozen=True)
class Reproduced:
    """A wrong fold that gives what was seen, or two at once.

    Attributes:
        words: what each does. sites: where the first is made.
    """

    words: tuple[str, ...]
    sites: tuple[Site, ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """A prediction that is wrong: y of x, of a model that was deployed with an example.

    Attributes:
        single_epsilon, lower: what the tool declares; see `bnconform.spec.error_bounds.networks.errors`.
    """

    network: Graph
    x: Array
    y: Array
    example: Array
    single_epsilon: bool = False
    lower: str = ""


def reproductions(seen: Seen) -> list[Reproduced]:
    """The wrong folds that reproduce a prediction: made wherever they can be, or at one place; else two of them.

    None where what was seen is not finite, or is right. What a lower precision explains is looked for no further.
    """
    if not np.isfinite(seen.y.astype(np.float64)).all() or _holds(seen.network, seen, seen.network.dtype):
        return []
    search = _Search(seen)
    found = list(search.single())
    if not found:
        found = list(search.lower_precision())
    return found or list(search.double())


class _Search:
    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.y = seen.y.astype(np.float64)
        right = results(seen.network, seen.x)
        self.right = right[seen.network.output]
        self.distance = float(np.abs(self.y - self.right).max(initial=0.0))
        self.shapes = {name: value.shape for name, value in right.items()}
        of_example = results(seen.network, seen.example)
        self.example = {
            node.name: batch_statistics(of_example[node.inputs[0]])
            for node in seen.network.nodes
            if node.kind == "batch_normalization"
        }

    def draft(self) -> Draft:
        return Draft.of(self.seen.network, self.shapes, self.example)

    def single(self) -> Iterator[Reproduced]:
        """One wrong fold, everywhere or at one place."""
        for fold in folds(self.seen.network.dtype):
            sites = fold.where(self.draft())
            tries = [tuple(sites)] if sites else []
            if len(sites) > 1:
                tries += [(one,) for one in sites]
            for chosen in tries:
                if self.explains([(fold, chosen)]):
                    yield Reproduced((fold.words,), chosen)
                    break

    def double(self) -> Iterator[Reproduced]:
        """Two wrong folds, each everywhere: those whose sites say most, as the others may be made of anything."""
        local = [fold for fold in list(folds(self.seen.network.dtype))[:PAIRED] if fold.where(self.draft())]
        for one, other in combinations(local, 2):
            made = [(one, tuple(one.where(self.draft()))), (other, tuple(other.where(self.draft())))]
            if self.explains(made):
                yield Reproduced((one.words, other.words), made[0][1])
                return

    def explains(self, made: Sequence[tuple[WrongFold, Sequence[Site]]]) -> bool:
        """Whether folds at their sites give what was seen: nearer than what is due, and within their bound."""
        draft = self.draft()
        try:
            for fold, sites in made:
                for one in sites:
                    fold.change(draft, one)
            network = draft.graph()
        except (ValueError, KeyError, StopIteration):  # one fold has taken away what the other changes
            return False
        near = results(network, self.seen.x)[network.output]
        if near.shape != self.y.shape or not np.isfinite(near).all():
            return False
        if float(np.abs(self.y - near).max(initial=0.0)) > NEARER * self.distance:
            return False
        return _holds(network, self.seen, network.dtype)

    def lower_precision(self) -> Iterator[Reproduced]:
        """Computed rightly, in a lower format."""
        for kind in LOWER.get(self.seen.network.dtype, ()):
            network = self.seen.network.cast(kind)
            x = self.seen.x.astype(numpy_dtype(kind))
            with arithmetic():
                truth = evaluate(network, x, single_epsilon=self.seen.single_epsilon)
                bound = errors(network, truth, single_epsilon=self.seen.single_epsilon)
                off = np.abs(floats(truth[network.output]) - self.y)
            spread = float(np.ptp(self.right)) if self.right.size else 0.0
            if float(bound.max(initial=0.0)) <= TELLING * spread and (off <= 2 * bound).all():
                yield Reproduced((f"off as far as {kind} arithmetic may be",), ())
                return


PAIRED = 13
"""How many of the family, which begins with what is local, are tried two at a time."""


def _holds(network: Graph, seen: Seen, dtype: str) -> bool:
    with arithmetic():
        truth = evaluate(network, seen.x, single_epsilon=seen.single_epsilon)
        due = truth[network.output]
        bound = errors(replace(network, dtype=dtype), truth, single_epsilon=seen.single_epsilon, lower=seen.lower)
        off = floats(abs(exact(seen.y) - due))
    return bool((off <= bound).all()) and bool(np.isfinite(bound).any())
