"""The end of a run: its result judged by the baseline, written to the files that were asked for, and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from report import gate_text, matrix
from report import result as results
from report.files import FileError, check_writable
from report.gate import Judgement
from report.result import Result
from spec.catalogue import requirements
from spec.config import FEATURES

from . import pages
from .gate import Gate
from .subject import Subject


def wanted(option: Any) -> pages.Wanted:
    """The pages that the options ask for."""
    html, markdown, badge, kills = (
        Path(path) if path else None for path in (option.html, option.markdown, option.badge, option.kill_matrix)
    )
    return pages.Wanted(html, markdown, badge, option.annotations, kills)


def check(option: Any) -> None:
    """FileError, before anything is judged, where a file that the options name could not be written."""
    own = [Path(option.bnconform_json)] if option.bnconform_json else []
    for path in own:
        check_writable(path)
    pages.check(wanted(option), *own)


@dataclass
class Closing:
    """What became of a run.

    Attributes:
        judged: by the baseline, where there is one. annotations: lines to print. unwritten: why a file is missing.
    """

    option: Any
    result: Result
    judged: Judgement | None = None
    annotations: list[str] = field(default_factory=list)
    unwritten: str = ""

    @classmethod
    def of(cls, option: Any, result: Result, known: Gate, subjects: Sequence[Subject]) -> Closing:
        """Judge the result and write the files."""
        made = cls(option, result)
        if option.baseline is not None:
            made.judged = known.judge(result, option.level)
        try:
            if option.bnconform_json:
                results.write(Path(option.bnconform_json), result)
            made.annotations = pages.produce(result, wanted(option), pages.places(subjects))
        except FileError as problem:
            made.unwritten = str(problem)
        return made

    def show(self, console: Console, subjects: Sequence[Subject], left_out: Mapping[str, str]) -> None:
        """Print the matrix, what the baseline says, and what else the user should know."""
        rules = requirements()
        titles = {name: rule.title for name, rule in rules.items()}
        matrix.render(self.result, titles, {name: rule.chapter for name, rule in rules.items()}, console)
        option = self.option
        if self.judged is not None:
            console.print()
            written = [option.bnconform_json] if option.bnconform_json else []
            gate_text.show(gate_text.lines(self.judged, option.baseline, option.level, written), console)
        for name, words in sorted({s.name: sorted(set(s.unsupported) - FEATURES) for s in subjects}.items()):
            if words:
                known = ", ".join(sorted(FEATURES))
                console.print(
                    f"{name} declares unsupported what is never asked for: {', '.join(words)}; known: {known}",
                    markup=False,
                )
        for name, reason in left_out.items():
            console.print(f"{name} was left out: {reason}", markup=False)
        if self.unwritten:
            console.print(f"bnconform: {self.unwritten}", markup=False)
            return
        files = {
            "result": option.bnconform_json,
            "page": option.html,
            "summary": option.markdown,
            "badge": option.badge,
        }
        for what, path in files.items():
            if path:
                console.print(f"The {what} is in {path}", markup=False)
