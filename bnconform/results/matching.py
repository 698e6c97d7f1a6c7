"""Which subject of one result is compared with which of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bnconform.results.completeness import Column
from bnconform.results.result import DTYPES, Result, dtype_order
from bnconform.spec.errors import UserError

Pairs = list[tuple[Column, Column]]


class MatchingError(UserError):
    """A choice that chooses nothing; the message says what there is, in one line."""


def subjects(result: Result) -> list[Column]:
    """The subjects of a result, in the order of the matrix."""
    found = {row.key[:3] for row in result.rows}
    return sorted(found, key=lambda key: (key[0], key[1], dtype_order(key[2])))


def pair(first: Iterable[Column], second: Iterable[Column]) -> tuple[Pairs, list[Column], list[Column]]:
    """The pairs of two files' subjects, and those of each that find no partner.

    The same backend on the same device comes first, then the same backend on another device, all of one file's with
    all of the other's. In a dtype in which neither file has a backend of the other's, all are compared with all.
    """
    left, right = list(first), list(second)
    pairs = [(one, one) for one in left if one in right]
    taken = {one for one, _ in pairs}
    rest = [one for one in left if one not in taken], [one for one in right if one not in taken]
    pairs += [(one, other) for one in rest[0] for other in rest[1] if (one[0], one[2]) == (other[0], other[2])]
    met = {one[2] for one, _ in pairs}
    pairs += [(one, other) for one in left for other in right if one[2] == other[2] and one[2] not in met]
    return pairs, _without(left, (one for one, _ in pairs)), _without(right, (other for _, other in pairs))


def find_pairs(text: str, first: Sequence[Column], second: Sequence[Column]) -> Pairs:
    """The pairs that `A=B` asks for, each side a backend or `backend:device`, in every dtype that both have.

    Raises:
        MatchingError: where a side names no subject, or no dtype is common.
    """
    # A name may itself have "=" in it.
    cuts = [place for place, letter in enumerate(text) if letter == "="]
    if not cuts:
        raise MatchingError(f"--pair {text} has no '='; give --pair A_BACKEND=B_BACKEND")
    found = [(_find_columns(text[:cut], first), _find_columns(text[cut + 1 :], second)) for cut in cuts]
    if not any(one and other for one, other in found):
        raise MatchingError(
            f"--pair {text} names no pair; the first file has {_names(first)}, the other {_names(second)}"
        )
    pairs = [(one, other) for left, right in found for one in left for other in right if one[2] == other[2]]
    if not pairs:
        raise MatchingError(f"--pair {text}: the two have no dtype in common")
    return pairs


def narrow(found: Sequence[Column], backends: Sequence[str], dtypes: Sequence[str]) -> list[Column]:
    """The subjects of the given backends and dtypes; all where none are given."""
    return [one for one in found if (not backends or one[0] in backends) and (not dtypes or one[2] in dtypes)]


def check_choice(backends: Iterable[str], dtypes: Iterable[str], everything: Sequence[Column]) -> None:
    """Raise MatchingError for a backend or dtype that is in none of the files, or that does not exist."""
    for backend in backends:
        if backend not in {one[0] for one in everything}:
            raise MatchingError(f"no file has a backend {backend!r}; they have {_names(everything)}")
    for dtype in dtypes:
        if dtype not in {one[2] for one in everything}:
            known = "" if dtype in DTYPES else f"; a dtype is one of {', '.join(DTYPES)}"
            raise MatchingError(f"no file has anything in {dtype}{known}")


def _find_columns(text: str, found: Sequence[Column]) -> list[Column]:
    return [one for one in found if text in (one[0], f"{one[0]}:{one[1]}")]


def _names(found: Iterable[Column]) -> str:
    return ", ".join(dict.fromkeys(f"{one[0]}:{one[1]}" for one in found)) or "nothing"


def _without(found: Iterable[Column], taken: Iterable[Column]) -> list[Column]:
    gone = set(taken)
    return [one for one in found if one not in gone]
