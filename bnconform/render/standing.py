"""Where each implementation stands after a run: one sentence, and what to do next. The last lines of every face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnconform.render.cards import Card
from bnconform.results.completeness import partial, reason
from bnconform.results.result import FAILURES, Result, Row
from bnconform.results.visible import cut_names

NAMED = 6
"""Causes that are named in the sentence."""

GOOD, PART, BAD = "good", "part", "bad"
"""No must is violated; the same, of a part of the suite or where no must was judged; one is violated, or nothing was
judged."""


@dataclass(frozen=True)
class Standing:
    """What became of one backend: the sentence, and one of GOOD, PART and BAD."""

    sentence: str
    kind: str


def standings(result: Result, cards: Sequence[Card]) -> list[Standing]:
    """One of each backend, in the order of the rows."""
    if not result.rows:
        return [Standing("nothing was judged", BAD)]
    part = f"only a part: {partial(result)}; {reason(result)}".rstrip("; ") if partial(result) else ""
    return [
        _standing(name, [row for row in result.rows if row.backend == name], cards, part)
        for name in dict.fromkeys(row.backend for row in result.rows)
    ]


def _standing(name: str, rows: Sequence[Row], cards: Sequence[Card], part: str) -> Standing:
    mine = [card for card in cards if card.backend == name]
    said = [_level(level, rows, [card for card in mine if card.level == level]) for level in ("must", "should")]
    musts = [row.verdict for row in rows if row.level == "must" and row.verdict != "unsupported"]
    failing = any(verdict in FAILURES for verdict in musts)
    sentence = f"{cut_names([name])}: {'; '.join(filter(None, said)) or 'no must and no should was judged'}"
    models, refused = sum(row.models for row in rows), sum(row.refused for row in rows)
    if refused:
        sentence += f"; {refused} of {models} times it refused the model, of which nothing is known"
    if part:
        sentence += f" ({part})"
    is_part = bool(part) or not musts or any(row.is_mostly_refused for row in rows if row.level == "must")
    return Standing(sentence, BAD if failing else PART if is_part else GOOD)


def _level(level: str, rows: Sequence[Row], cards: Sequence[Card]) -> str:
    """How many of the requirements of one level fail, and why; nothing of a should that holds."""
    rows = [row for row in rows if row.level == level]
    judged = {row.requirement for row in rows if row.verdict != "unsupported"}
    failing = {row.requirement for row in rows if row.verdict in FAILURES}
    if failing:
        verb = "fails" if len(failing) == 1 else "fail"
        causes = f"{len(cards)} cause{'' if len(cards) == 1 else 's'}: {_shorts(cards)}" if cards else ""
        return ", ".join(filter(None, (f"{len(failing)} of {_count(len(judged), level)} {verb}", causes)))
    if level == "should":
        return ""
    if not judged:
        return "no must was judged"
    declared = sorted({f"{one.coordinate} = {one.value}" for row in rows if row.verdict == "deviates"
                       for one in row.diagnosis})  # fmt: skip
    lacking = len({row.requirement for row in rows} - judged)
    return ", ".join([
        f"{'all ' if len(judged) > 1 else ''}{_count(len(judged), level)} {'hold' if len(judged) > 1 else 'holds'}",
        *([f"as declared: {'; '.join(declared)}"] if declared else []),
        *([f"{lacking} unsupported"] if lacking else []),
    ])  # fmt: skip


def _count(count: int, level: str) -> str:
    return f"{count} {level}{'' if count == 1 else 's'}"


def _shorts(cards: Sequence[Card]) -> str:
    more = [f"{len(cards) - NAMED} more"] if len(cards) > NAMED else []
    return "; ".join([*(card.short for card in cards[:NAMED]), *more])


def next_step(result: Result, cards: Sequence[Card]) -> str:
    """What to do next, in a line."""
    if not result.rows:
        return "next: name what is to be judged with --backend; `bnconform list` shows what can be"
    for number, card in enumerate(cards, start=1):
        if card.level == "must":
            about = next(iter(card.decisions), card.shown.requirement)
            return (
                f"next: run the case of cause {number} again, alone, by its replay line; "
                f"`bnconform explain {about}` says what is due"
            )
    missing = result.selection.missing if result.selection else ()
    if missing:
        return f"next: give the result files of all shards, {' and '.join(missing[:NAMED])} too"
    if result.shard is not None:
        return f"next: give `bnconform baseline check` the files of all {result.shard.share.of} shards"
    narrowed = result.selection.narrowed_by if result.selection else ()
    if narrowed:
        return f"next: without {' '.join(narrowed)} the whole suite is asked"
    if partial(result):
        return "next: run it again, to its end"
    return "next: keep it so: --json result.json here, and `bnconform baseline check` or --baseline in CI"
