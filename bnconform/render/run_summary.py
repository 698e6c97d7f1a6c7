"""The end of a run: its result judged by the baseline, written to the files that were asked for, and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bnconform.judge.subject import Subject
from bnconform.render import baseline_text, report_files, terminal
from bnconform.results import result as results
from bnconform.results.baseline_check import BaselineVerdict
from bnconform.results.completeness import is_partial, is_unfinished
from bnconform.results.files import FileError, check_writable
from bnconform.results.known_failures import KnownFailures
from bnconform.results.result import Result
from bnconform.spec.catalogue import requirements
from bnconform.spec.config import FEATURES

PAGES = {"html": "page", "markdown": "summary", "badge": "badge", "junit": "JUnit file"}
"""What a run writes beside its result, by the name of the option."""


def pages_of_options(option: Any) -> report_files.Wanted:
    """The pages that the options ask for."""
    html, markdown, badge, kills = (
        Path(path) if path else None for path in (option.html, option.markdown, option.badge, option.kill_matrix)
    )
    junit = Path(option.xmlpath) if getattr(option, "xmlpath", None) else None
    return report_files.Wanted(html, markdown, badge, option.annotations, kills, junit, option.level)


def check(option: Any) -> None:
    """FileError, before anything is judged, where a file that the options name could not be written."""
    own = [Path(option.bnconform_json)] if option.bnconform_json else []
    for path in own:
        check_writable(path)
    report_files.check(pages_of_options(option), *own)


@dataclass
class RunSummary:
    """What became of a run.

    Attributes:
        judged: by the baseline, where there is one. annotations: lines to print. unwritten: why a file is missing.
        files: what was written, by what it is. notes: what is to be said of files that were there before.
    """

    option: Any
    result: Result
    judged: BaselineVerdict | None = None
    annotations: list[str] = field(default_factory=list)
    unwritten: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, option: Any, result: Result, known: KnownFailures, subjects: Sequence[Subject]) -> RunSummary:
        """Judge the result and write the files."""
        made = cls(option, result)
        if option.baseline is not None:
            made.judged = known.judge(result, option.level)
        try:
            if option.bnconform_json:
                results.write(made.place("result", Path(option.bnconform_json)), result)
            known_rows = {one.row.key: one.entry.reason for one in made.judged.known} if made.judged else {}
            pages = replace(pages_of_options(option), known=known_rows)
            places: dict[str, Any] = {
                name: made.place(what, path) for name, what in PAGES.items() if (path := getattr(pages, name))
            }
            made.annotations = report_files.produce(result, replace(pages, **places), report_files.places(subjects))
        except FileError as problem:
            made.unwritten = str(problem)
        return made

    def place(self, what: str, path: Path) -> Path:
        """Where a file is written: beside the one that is there, where that is whole and the run broke off."""
        self.files[what] = path
        if not is_partial(self.result) or report_files.is_job_summary(path):
            return path
        if is_unfinished(self.result):
            if path.exists() and not (what == "result" and _is_partial_file(path)):
                self.files[what] = path.with_name(f"{path.stem}.partial{path.suffix}")
                self.notes.append(f"{path} is left as it was, since the run did not come to its end")
        elif what == "result" and _is_complete_file(path):
            self.notes.append(f"{path} held a complete result, which this part of a run has replaced")
        return self.files[what]

    def show(self, console: Console, subjects: Sequence[Subject], left_out: Mapping[str, str]) -> None:
        """Print all of it, the verdict last."""
        rules = requirements()
        titles = {name: rule.title for name, rule in rules.items()}
        chapters = {name: rule.chapter for name, rule in rules.items()}
        terminal.render(self.result, titles, chapters, console, lambda: self._notes(console, subjects, left_out))

    def _notes(self, console: Console, subjects: Sequence[Subject], left_out: Mapping[str, str]) -> None:
        """Print what the baseline says, and what else the user should know."""
        option = self.option
        if self.judged is not None:
            console.print()
            written = [option.bnconform_json] if option.bnconform_json else []
            baseline_text.show(baseline_text.lines(self.judged, option.baseline, option.level, written), console)
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
        for what, path in self.files.items():
            console.print(f"The {what} is in {path}", markup=False)
        for note in self.notes:
            console.print(note, markup=False)


def _is_partial_file(path: Path) -> bool:
    """Whether a file is a result that is known to be partial."""
    try:
        return is_partial(results.read(path))
    except FileError:
        return False


def _is_complete_file(path: Path) -> bool:
    """Whether a file is a result that is not known to be partial."""
    try:
        return not is_partial(results.read(path))
    except FileError:
        return False
