"""`bnconform baseline`: what is known to fail, written from result files, and result files judged beside it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from rich.console import Console

from bnconform.cli.refusal import refuse
from bnconform.render import baseline_text
from bnconform.results import baseline, baseline_check
from bnconform.results.baseline import UNEXPLAINED, BaselineError, When
from bnconform.results.baseline_update import Update, updated
from bnconform.results.files import FileError, check_writable
from bnconform.results.known_failures import suite
from bnconform.results.result import LEVELS, read
from bnconform.spec.catalogue import requirements

FORMS = {
    "update": "bnconform baseline update BASELINE RESULT.json... [--reason TEXT] [--link URL] [--when CONDITION]... "
    "[--keep-fixed | --drop-fixed] [--level must|should|may]",
    "check": "bnconform baseline check BASELINE RESULT.json... [--level must|should|may]",
}


def face(arguments: Sequence[str]) -> int:
    """Update a baseline, or judge result files beside it: 0, 1 where the gate fails, 2 where it cannot be done."""
    action, *rest = arguments or [""]
    try:
        if action not in FORMS:
            raise BaselineError(f"baseline cannot {action!r}; give {' or '.join(FORMS.values())}")
        known = _parsed(action, rest)
        return (_update if action == "update" else _check)(known)
    except (argparse.ArgumentError, FileError) as problem:
        return refuse(problem)


def _parsed(action: str, arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bnconform baseline", add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--level", choices=LEVELS, default="must")
    if action == "update":
        parser.add_argument("--reason", default=UNEXPLAINED)
        parser.add_argument("--link", default="")
        parser.add_argument("--when", action="append", default=[])
        fixed = parser.add_mutually_exclusive_group()
        fixed.add_argument("--keep-fixed", action="store_true")
        fixed.add_argument("--drop-fixed", action="store_true")
    known, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        raise BaselineError(f"baseline {action} does not take {unknown[0]!r}; give {FORMS[action]}")
    if len(known.paths) < 2:
        raise BaselineError(f"baseline {action} needs a baseline and a result file; give {FORMS[action]}")
    known.baseline, *known.results = known.paths
    return known


def _check(known: argparse.Namespace) -> int:
    """Judge result files as their run would have been judged."""
    entries = baseline.read(known.baseline, requirements())
    found = baseline_check.judge(entries, [read(path) for path in known.results], known.level, suite())
    _show(baseline_text.lines(found, str(known.baseline), known.level, list(map(str, known.results))))
    return 1 if found.fails else 0


def _update(known: argparse.Namespace) -> int:
    """Write what fails in the result files into the baseline."""
    check_writable(known.baseline, "the baseline")
    entries = baseline.read(known.baseline, requirements()) if known.baseline.exists() else ()
    results = [read(path) for path in known.results]
    drop = {"unmatched"} | (set() if known.keep_fixed else {"fixed"}) | ({"partly"} if known.drop_fixed else set())
    update = updated(
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
    _show(_told(update, known.baseline))
    if left:
        print(f"{len(left)} rows are internal errors of bnconform, which no baseline can know: please report them")
    return 0


def _told(update: Update, path: Path) -> Iterator[str]:
    """What was done to the baseline."""
    same = len(update.entries) - len(update.added) - len(update.refreshed)
    yield (
        f"{path}: {len(update.added)} added, {len(update.refreshed)} changed, {len(update.dropped)} dropped, "
        f"{same} as they were"
    )
    yield from (f"  + {e}: {e.verdict}{f', {e.diagnosis}' if e.diagnosis else ''}" for e in update.added)
    yield from (f"  ~ {known.entry}: {known.why}" for known in update.refreshed)
    yield from (f"  - {told.entry}: {told.why}" for told in update.dropped)
    for told in update.kept:
        yield f"  = {told.entry}: {told.why}; kept"
    unexplained = sum(entry.reason == UNEXPLAINED for entry in update.entries)
    if unexplained:
        yield f"{unexplained} of {len(update.entries)} are {UNEXPLAINED}: write each one's reason into {path}"


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
