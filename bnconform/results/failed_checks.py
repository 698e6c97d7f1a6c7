"""Failed checks as a result keeps them: of those of a row that fail alike the one that tells most, and their number.

The rows of a result have the worst of their checks; a person wants the smallest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bnconform.results.failure import VIOLATION
from bnconform.results.result import FAILURES, LEVELS, VERDICTS, FailedCheck, Result, Row, dtype_order, together


def condense(checks: Iterable[FailedCheck]) -> tuple[FailedCheck, ...]:
    """One check for each row and each thing that its failures have in common; condensing again changes nothing."""
    groups: dict[object, list[FailedCheck]] = {}
    for check in checks:
        row = check.row
        cause = row.failure.cause if row.failure is not None else ""
        groups.setdefault((row.key, row.level, row.verdict, cause, row.diagnosis, sameness(row)), []).append(check)
    return tuple(_standing_for(members) for members in groups.values())


def find_failed_checks(result: Result) -> tuple[FailedCheck, ...]:
    """The checks of a result that failed; of one that has kept none the rows that fail, each for a check."""
    return result.failed or tuple(FailedCheck(row) for row in result.rows if row.verdict in FAILURES)


def _standing_for(members: list[FailedCheck]) -> FailedCheck:
    chosen = min(members, key=telling)
    row = replace(chosen.row, flaky=together(member.row for member in members))
    return FailedCheck(row, chosen.size, sum(member.many for member in members))


def sameness(row: Row) -> object:
    """What rows of one requirement have in common that one entry can speak for: the explanation, or what is said.

    A failure that nothing explains shows something else in every dtype. A reason may name its own device and dtype.
    """
    if row.failure is not None and row.failure.kind == VIOLATION:
        return row.diagnosis
    return row.diagnosis or row.summary.replace(row.device, "").replace(row.dtype, "")


def telling(check: FailedCheck) -> tuple[object, ...]:
    """A sorting key: the check that tells most with least comes first, one that can be replayed before others."""
    row = check.row
    size = check.size or (len(row.failure.call) if row.failure is not None else 0,)
    measured = row.failure is not None and (row.failure.quantity is not None or bool(row.failure.problems))
    share = -1.0 if row.bound_share is None else row.bound_share
    severity = LEVELS.index(row.level), VERDICTS.index(row.verdict)
    return *severity, not measured, row.case is None, size, dtype_order(row.dtype), -share
