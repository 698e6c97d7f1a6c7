"""`bnconform baseline`: what is known to fail, written from result files, and result files judged beside it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from rich.console import Console

from bnconform.cli.parser import Parser, Verbs, add_verb, levels
from bnconform.judge.shard_set import whole
from bnconform.render import baseline_text
from bnconform.results import baseline, baseline_check
from bnconform.results.baseline import UNEXPLAINED, BaselineEntry, BaselineError, When
from bnconform.results.baseline_update import Update, update_baseline
from bnconform.results.completeness import partial, reason
from bnconform.results.files import check_writable
from bnconform.results.known_failures import suite
from bnconform.results.result import Result, read
from bnconform.spec.catalogue import requirements

EXAMPLE = """\
bnconform baseline update known.json result.json --reason "rounds twice" --link https://example.org/1
  bnconform baseline check known.json result.json"""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb, which has two of its own."""
    parser = add_verb(verbs, "baseline", summary, example=EXAMPLE, run=run, mixed=False)
    actions = parser.add_subparsers(metavar="update|check", dest="action", required=True, parser_class=Parser)
    update = add_verb(
        actions,
        "update",
        "write what fails in result files into a baseline",
        example=EXAMPLE.splitlines()[0],
        run=_update,
        parents=[levels()],
    )
    update.add_argument("--reason", default=UNEXPLAINED, metavar="TEXT", help="why new entries are accepted")
    update.add_argument("--link", default="", metavar="URL", help="where that is discussed")
    update.add_argument(
        "--when",
        action="append",
        default=[],
        metavar="CONDITION",
        help="where new entries hold: torch>=2.11, platform=PATTERN or device_name=PATTERN; may be repeated",
    )
    fixed = update.add_mutually_exclusive_group()
    for action in (
        fixed.add_argument("--keep-fixed", action="store_true", help="keep entries of what no longer fails"),
        fixed.add_argument("--drop-fixed", action="store_true", help="drop them even where only a part was judged"),
    ):
        update.words += action.option_strings
    check = add_verb(
        actions,
        "check",
        "judge result files as their run would have been judged",
        example=EXAMPLE.splitlines()[1].strip(),
        run=_check,
        parents=[levels()],
    )
    for parser in (update, check):
        parser.add_argument("baseline", type=Path, metavar="BASELINE", help="the file of what is known to fail")
        parser.add_argument("results", type=Path, nargs="+", metavar="RESULT.json", help="files that --json wrote")


def run(known: argparse.Namespace) -> int:
    """Never called: one of the two actions is required."""
    raise AssertionError(known)


def _check(known: argparse.Namespace) -> int:
    """Judge result files as their run would have been judged: 0, or 1 where that fails."""
    entries = baseline.read(known.baseline, requirements())
    found = baseline_check.judge(entries, [result for _, result in _read(known.results)], known.level, suite())
    _show(baseline_text.lines(found, str(known.baseline), known.level, list(map(str, known.results))))
    return 1 if found.fails else 0


def _update(known: argparse.Namespace) -> int:
    """Write what fails in the result files into the baseline: 0."""
    check_writable(known.baseline, "the baseline")
    entries = baseline.read(known.baseline, requirements()) if known.baseline.exists() else ()
    named = _read(known.results)
    results = [result for _, result in named]
    drop = {"unmatched"} | (set() if known.keep_fixed else {"fixed"}) | ({"partly"} if known.drop_fixed else set())
    update = update_baseline(
        entries, results, known.level, suite(), reason=known.reason, link=known.link, when=when(known.when), drop=drop
    )
    left = baseline_check.judge(update.entries, results, known.level, suite()).new
    if idle := [row for row in left if not baseline_check.internal(row)]:
        where = f"{idle[0].requirement} {idle[0].backend} {idle[0].device} {idle[0].dtype}"
        raise BaselineError(f"nothing was written: {' '.join(known.when)} does not hold where {where} failed")
    # What will be read again must be readable: the reason, the link, and requirements that another version may have.
    try:
        baseline.from_json(json.loads(baseline.to_text(update.entries)), requirements())
    except BaselineError as problem:
        raise BaselineError(f"nothing was written: the new baseline would not be one: {problem}") from None
    baseline.write(known.baseline, update.entries)
    _show(_changes(update, known.baseline))
    for path, result in named:
        if part := partial(result):
            print(f"{path} is only a part of a run ({part}; {reason(result)}): what it did not judge is as it was")
    if left:
        print(f"{len(left)} rows are internal errors of bnconform, which no baseline can know: please report them")
    return 0


def _read(paths: Sequence[Path]) -> list[tuple[str, Result]]:
    """The results, by the names of their files, with one in the place of all shards of a run."""
    return whole([(str(path), read(path)) for path in paths])


def _changes(update: Update, path: Path) -> Iterator[str]:
    """What was done to the baseline."""
    same = len(update.entries) - len(update.added) - len(update.refreshed)
    yield (
        f"{path}: {len(update.added)} added, {len(update.refreshed)} changed, {len(update.dropped)} dropped, "
        f"{same} as they were"
    )
    yield from _alike("+", ((e, e.verdict + (f", {e.diagnosis}" if e.diagnosis else "")) for e in update.added))
    yield from _alike("~", ((known.entry, known.why) for known in update.refreshed))
    yield from _alike("-", update.dropped)
    yield from _alike("=", ((note.entry, f"{note.why}; kept") for note in update.kept))
    unexplained = sum(entry.reason == UNEXPLAINED for entry in update.entries)
    if unexplained:
        yield f"{unexplained} of {len(update.entries)} are {UNEXPLAINED}: write each one's reason into {path}"


def _alike(sign: str, entries: Iterable[tuple[BaselineEntry, str]]) -> Iterator[str]:
    """One line for the entries of a backend of which the same is said, with their requirements and places."""
    groups: dict[tuple[str, str], list[BaselineEntry]] = {}
    for entry, says in entries:
        groups.setdefault((entry.backend, says), []).append(entry)
    for (backend, says), mine in groups.items():
        names = ", ".join(dict.fromkeys(entry.requirement for entry in mine))
        places = ", ".join(dict.fromkeys(f"{entry.device} {entry.dtype}" for entry in mine))
        yield f"  {sign} {backend}: {says}: {names}  [{places}]"


def when(given: Sequence[str]) -> When:
    """The condition that --when gives: a requirement such as torch>=2.11, platform=PATTERN or device_name=PATTERN."""
    versions: dict[str, str] = {}
    patterns: dict[str, str] = {}
    for text in given:
        name, equals, pattern = text.partition("=")
        if equals and name in ("platform", "device_name") and pattern.strip("="):
            patterns[name] = pattern
            continue
        try:
            needed = Requirement(text)
        except InvalidRequirement:
            needed = None
        if needed is None or not needed.specifier or needed.extras or needed.marker or needed.url:
            raise BaselineError(
                f"--when {text!r} is no condition; give one such as 'torch>=2.11,<2.14', 'platform=*aarch64*' or "
                "'device_name=*H100*'"
            )
        versions[needed.name] = str(needed.specifier)
    return When(versions=versions, **patterns)


def _show(lines: Iterable[str]) -> None:
    baseline_text.show(lines, Console(width=None if sys.stdout.isatty() else 100, highlight=False))
