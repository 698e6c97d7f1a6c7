"""A result in the terminal: the matrix, a card a cause, the verdict last; nothing is lost without colour."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bnconform.render.matrix import LETTERS
from bnconform.render.terminal import render
from bnconform.results.completeness import FINISHED, ColumnSelection, Completion, SelectionRecord
from bnconform.results.failure import Quantity
from bnconform.results.result import VERDICTS, Diagnosis, Difference, FailedCheck, Result, Row, Usage, merge
from bnconform.tests.selftest.results.test_failure import FAILURES
from bnconform.tests.selftest.rows import ALL_DTYPES, CHAPTERS, FULL, STRICTNESS, TITLES, grid, row, run


def draw(result: Result, width: int = 100, encoding: str = "utf-8", **console: Any) -> str:
    """What `render` prints on a console of that width."""
    buffer = io.BytesIO()
    with io.TextIOWrapper(buffer, encoding=encoding) as stream:
        # An empty environment, so that NO_COLOR and the like where the tests run do not matter.
        render(result, TITLES, CHAPTERS, Console(file=stream, width=width, _environ={}, **console))
        stream.flush()
        return buffer.getvalue().decode(encoding)


def line_with(text: str, *words: str) -> str:
    """The only line that holds all the words."""
    found = [line for line in text.splitlines() if all(word in line for word in words)]
    assert len(found) == 1, f"{len(found)} lines hold {words} in:\n{text}"
    return found[0]


def place(entry: Row) -> dict[str, str]:
    """The row's backend, device, dtype and requirement, by name."""
    return dict(zip(("backend", "device", "dtype", "requirement"), entry.key, strict=True))


class TestMatrix:
    """What a person sees."""

    @pytest.mark.parametrize(
        "backends",
        [
            ["numpy"],
            ["torch.nn", "torch.nn+channels_last", "torch.nn+compile", "torch.nn+lazy", "torch.functional"],
            [f"documents.implementation_with_a_long_name_{number}" for number in range(12)],
            ["a" * 150],
        ],
        ids=["one", "five", "twelve", "long name"],
    )
    @pytest.mark.parametrize("width", [40, 80, 100, 200])
    def test_no_line_is_wider_than_the_console(self, backends: list[str], width: int) -> None:
        """Whatever is shown fits, at 100 columns and at others."""
        text = draw(run(*grid(backends), backends={name: Usage(3, 1.0) for name in backends}), width)
        assert max(len(line) for line in text.splitlines()) <= width

    @pytest.mark.parametrize("count", [1, 3, 9])
    @pytest.mark.parametrize("dtypes", [("float64",), ALL_DTYPES], ids=["one dtype", "four dtypes"])
    @pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cuda:0")], ids=["cpu", "two devices"])
    def test_every_verdict_is_shown_once(self, count: int, dtypes: tuple[str, ...], devices: tuple[str, ...]) -> None:
        """Dealt out over several tables, no cell is lost and none is shown twice."""
        everything = grid([f"backend.number_{n}" for n in range(count)], dtypes, devices)
        rows = [entry for entry in everything if entry.requirement == "BN-RUN-VAR"]
        lines = draw(run(*rows)).split("As declared")[0].splitlines()
        words = " ".join(line for line in lines if line.startswith("BN-RUN-VAR ")).split()
        marks = [word for word in words if word in LETTERS.values()]
        assert sorted(marks) == sorted(LETTERS[entry.verdict] for entry in rows)

    def test_backend_wider_than_the_console_is_split(self) -> None:
        """More dtypes than fit in a line go on in a table below, and every one is there."""
        dtypes = [f"float8_e{number}m{7 - number}" for number in range(8)]
        lines = draw(run(*(row(dtype=dtype) for dtype in dtypes)), width=60).splitlines()
        assert [word for line in lines for word in line.split() if word.startswith("float8")] == dtypes
        assert "".join(line for line in lines if line.startswith("BN-RUN-VAR")).count("+") == len(dtypes)

    def test_cell_stands_under_its_header(self) -> None:
        """A verdict stands in the column of its backend, device and dtype."""
        wrong = ("b", "cpu", "float16")
        rows = [row("violates" if entry.key[:3] == wrong else "conforms", **place(entry)) for entry in grid(["a", "b"])]
        lines = draw(run(*rows)).splitlines()
        dtypes = next(line for line in lines if "f64" in line)
        column = dtypes.rindex(" f16") + 1
        names = lines[lines.index(dtypes) - 2]
        cells = next(line for line in lines if line.startswith("BN-RUN-VAR"))
        assert cells[column] == "V"
        assert cells.split().count("V") == 1
        assert names.index("a") < names.index("b") <= column

    def test_readable_without_colour(self) -> None:
        """Without a terminal there is not one escape code, and a legend says what the letters mean."""
        text = draw(run(*grid(["numpy", "torch.nn"])))
        assert "\x1b" not in text
        assert text.isascii()
        legend = line_with(text, "+ conforms")
        assert all(f"{letter} {verdict}" in legend for verdict, letter in LETTERS.items())

    def test_colour_where_the_terminal_has_it(self) -> None:
        """On a terminal with colours a violated must is red, and the letters are the same."""
        text = draw(run(row("violates")), force_terminal=True, color_system="standard")
        assert "\x1b[1;31mV\x1b[0m" in text

    def test_letters_are_distinct(self) -> None:
        """No two verdicts share a letter, whether it is a capital or small."""
        assert len({letter.lower() for letter in LETTERS.values()}) == len(VERDICTS)

    @pytest.mark.parametrize(
        ("requirement", "letter"),
        [("BN-RUN-VAR", "V"), ("BN-NUM-STABLE", "v"), ("BN-EDGE-ONE-VALUE-POLICY", "v")],
    )
    def test_levels_are_told_apart(self, requirement: str, letter: str) -> None:
        """What fails a should or a may has a small letter and its level beside it."""
        text = draw(run(row("violates", requirement=requirement)))
        words = next(line for line in text.splitlines() if line.startswith(requirement)).split()
        level = STRICTNESS.get(requirement)
        assert words[: 3 if level else 2] == [requirement, *([f"({level})"] if level else []), letter]
        assert line_with(text, f"1  {letter} numpy  {requirement} violates").startswith("1")

    def test_chapters_in_the_order_given(self) -> None:
        """Requirements stand under their chapters, in the order of the catalogue; unknown ones come last."""
        lines = draw(run(*grid(["numpy"]), row(requirement="BN-A-NEW-ONE"))).splitlines()
        table = [line.split("  ")[0] for line in lines[lines.index("Training forward") :]]
        wanted = [
            "Training forward", "BN-TRAIN-NORM",
            "Running statistics", "BN-RUN-VAR",
            "Edge cases", "BN-EDGE-ONE-VALUE-POLICY (may)",
            "Numerical quality", "BN-NUM-STABLE (should)",
            "Other", "BN-A-NEW-ONE",
        ]  # fmt: skip
        assert table[: len(wanted)] == wanted

    def test_chapter_of_which_nothing_is_supported_is_one_line(self) -> None:
        """With the mark under each column that was asked; its requirements stand with the reason, below."""
        names = ["BN-MORE-ONE", "BN-MORE-TWO"]  # of no chapter, so that they stand under "Other"
        rows = [
            row("unsupported", backend=backend, requirement=name, message="none") for name in names for backend in "ab"
        ]
        matrix, declared = draw(run(*rows, row(backend="a")), width=120).split("As declared")
        said = line_with(matrix, "Other", "none of 2 is supported")
        assert said.split("none of")[0].split() == ["Other", "-", "-"]
        assert not any(name in matrix for name in names) and all(name in declared for name in names)
        judged = row(backend="c", requirement=names[0])
        matrix, _ = draw(run(*rows, judged), width=120).split("As declared")
        assert [line_with(matrix, name).split()[1:4] for name in names] == [["-", "-", "+"], ["-", "-"]]

    def test_one_reason_is_one_entry(self) -> None:
        """What is unsupported for one reason is listed once, with all the requirements that it concerns."""
        places = itertools.product(CHAPTERS, ALL_DTYPES)
        rows = [row("unsupported", requirement=name, dtype=dtype, message="no such thing") for name, dtype in places]
        lines = draw(run(*rows), width=120).splitlines()
        names = "BN-TRAIN-NORM, BN-RUN-VAR, BN-EDGE-ONE-VALUE-POLICY (may), BN-NUM-STABLE (should)"
        assert lines[lines.index(f"- unsupported  numpy  {names}") + 1] == "    no such thing"

    def test_nothing_to_list(self) -> None:
        """Where everything conforms there is no list of what fails."""
        text = draw(run(row()))
        assert "What fails" not in text and "As declared" not in text

    def test_counts(self) -> None:
        """One line counts verdicts by level, values and seconds; one says how much of them each backend took."""
        rows = [*FULL.rows, row("violates", requirement="BN-NUM-STABLE")]
        lines = draw(run(*rows, backends=dict(FULL.environment.backends))).splitlines()
        place = lines.index(
            "must: 1 conforms, 1 violates, 1 unsupported; should: 1 violates; 6 values compared in 8.0 s"
        )
        assert lines[place + 1] == (
            "inside the backend's own calls, all processes together: numpy 2.0 s, torch.nn 0.5 s"
        )

    def test_nothing_judged(self) -> None:
        """A run without rows says so rather than showing an empty success."""
        assert draw(run()).splitlines()[-2] == "nothing was judged"

    def test_environment_is_echoed(self) -> None:
        """The first lines say what was judged, and with which versions."""
        first = draw(FULL).splitlines()[0]
        assert "bnconform 0.1.0, Python 3.11.7, numpy 2.4.6, torch 2.13.0" in first

    def test_messages_are_text(self) -> None:
        """Markup, escape codes and tabs in a framework's message are written out, not obeyed."""
        text = draw(
            run(row("crashed", message="got [red]x[/red] \x1b[2J\tand")), force_terminal=True, color_system=None
        )
        assert r"got [red]x[/red] \x1b[2J\tand" in text
        assert "\x1b" not in text

    def test_console_without_unicode(self) -> None:
        """A message in letters that the console cannot encode is shown as far as it can."""
        assert "got ? as it was" in draw(
            run(row("crashed", message="got σ² as it was".replace("²", ""))), encoding="ascii"
        )


BIASED = (Difference("running_variance", "biased"),)
OUTSIDE = (Difference("epsilon_form", "outside"),)


def explain(backend: str, point: tuple[Difference, ...], many: int, total: int) -> Diagnosis:
    """A diagnosis by a point, with its text."""
    words = " and ".join(f"{part.coordinate} = {part.value}" for part in point)
    return Diagnosis(backend, (point,), many, total, f"{words} (explains {many} of {total} failing checks)")


def failing(one: Diagnosis, size: int, requirement: str = "BN-RUN-VAR", **given: Any) -> FailedCheck:
    """A failing check that a diagnosis is of, with a case of that size."""
    quantity = Quantity(f"y of {size}", 1.5, 1.25, "float32", 1e-7, 3.0, 2.5)
    failure = replace(FAILURES["number"], cause=one.text, quantity=quantity, requirement=requirement)
    values = {"requirement": requirement, "failure": failure, "diagnosis": one.points[0], "message": "m", **given}
    return FailedCheck(row("violates", **values), (2, size))


TWO = (explain("numpy", OUTSIDE, 1, 5), explain("numpy", BIASED, 4, 5))
CHECKS = (
    failing(TWO[0], 9, "BN-TRAIN-NORM"),
    failing(TWO[1], 7), failing(TWO[1], 3), failing(TWO[1], 5, dtype="float64"),
    failing(TWO[1], 1, "BN-NUM-STABLE"),
)  # fmt: skip
BOTH = replace(run(*(check.row for check in CHECKS), row(dtype="float16")), diagnoses=TWO, failed=CHECKS)
"""A run with two causes, of which one explains four checks of two requirements."""


class TestCards:
    """One card a cause."""

    def test_a_cause_is_one_card(self) -> None:
        """Each cause is told once, with how much it explains, those of musts by the most checks first."""
        lines = draw(BOTH).splitlines()
        assert "What fails: 2 causes" in lines
        heads = [line for line in lines if line[:3] in ("1  ", "2  ", "3  ")]
        assert heads == [f"1  V numpy  {TWO[1].text}", f"2  V numpy  {TWO[0].text}"]

    def test_the_smallest_case_of_a_must_is_shown(self) -> None:
        """Not the worst, and not that of a should, however small; with what, got, should be, off by and one replay."""
        card = draw(BOTH, width=140).partition("1  V")[2].partition("2  V")[0]
        assert "what       y of 3\n" in card
        for label in ("got", "should be", "off by", "the call", "source", "replay"):
            assert card.count(f"\n    {label:<11}") == 1
        assert "violates   BN-RUN-VAR: What BN-RUN-VAR asks for" in card
        assert "alike      3 others alike; in all BN-RUN-VAR (3), BN-NUM-STABLE\n" in card
        assert "where      cpu float64, float32\n" in card and "diagnosis" not in card

    def test_from_a_file_the_rows_speak(self) -> None:
        """A file has no single checks: the card shows a row, and the count of its diagnosis."""
        text = draw(replace(BOTH, failed=()), width=140)
        assert text.count("\n1  V numpy") == text.count("\n2  V numpy") == 1
        assert "3 others alike" in text

    def test_without_a_record_the_message_is_told(self) -> None:
        """A row of an earlier version, or of what is no violation, shows its message and its case."""
        lines = draw(FULL).splitlines()
        start = lines.index("1  V numpy  running_variance = biased")
        assert "    is 1.0," in "\n".join(f"    {line.strip()}" for line in lines[start:])
        assert "    case       cases/BN-RUN-VAR.json" in lines[start:]

    def test_unlike_messages_are_cards_of_their_own(self) -> None:
        """Without a diagnosis, dtypes whose messages differ are told one by one; names of their own do not differ."""
        where = [("cpu", "float32"), ("cuda:0", "float32"), ("cpu", "float64")]
        rows = [row("crashed", device=at, dtype=dtype, message=f"no answer on {at}-{dtype}") for at, dtype in where]
        text = draw(run(*rows))
        assert "What fails: 1 cause\n" in text and "where      cpu float64, float32; cuda:0 float32" in text
        rows = [row("crashed", dtype=dtype, message=f"died of {number}") for number, dtype in enumerate(ALL_DTYPES)]
        assert "What fails: 4 causes\n" in draw(run(*rows))

    def test_musts_before_shoulds(self) -> None:
        """What fails the run comes first, however bad the rest."""
        lines = draw(run(row("crashed", requirement="BN-NUM-STABLE"), row("violates"))).splitlines()
        assert "What fails: 2 causes, the musts first" in lines
        assert [line[3] for line in lines if line[:3] in ("1  ", "2  ")] == ["V", "c"]

    def test_an_array_is_never_printed_whole(self) -> None:
        """However much was got, an entry is a few lines."""
        failure = replace(FAILURES["number"], quantity=Quantity("y", str(list(range(9999))), "zeros"))
        text = draw(run(row("violates", failure=failure, message="m")))
        assert len(text.splitlines()) < 40 and "got        [0, 1, 2" in text

    def test_many_causes_are_a_line_each(self) -> None:
        """From the thirteenth on a card is its first line."""
        text = draw(run(*(row("crashed", backend=f"b{n:02}", message=f"died of {n}") for n in range(20))))
        assert text.count("    crashed    BN-RUN-VAR") == 12 and text.count(" died of ") >= 20

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_the_lines_of_an_entry_stand_under_the_first(self, width: int) -> None:
        """A long entry goes on in the column in which it began, and nothing but a command is wider than asked."""
        failure = replace(FAILURES["number"], call="word " * 60)
        lines = draw(run(row("violates", failure=failure, message="m")), width).splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("    the call"))
        assert lines[start + 1].startswith(" " * 15 + "word") and len(lines[start + 1]) <= width
        assert max(len(line) for line in lines if "bnconform replay" not in line) <= width


class TestVerdict:
    """The last lines."""

    def test_verdict_names_the_causes(self) -> None:
        """How many musts fail, and of what; then what to do."""
        lines = draw(BOTH, width=200).splitlines()
        causes = "2 causes: running_variance = biased; epsilon_form = outside"
        assert lines[-2] == f"numpy: 2 of 2 musts fail, {causes}; 1 of 1 should fails"
        assert lines[-1].startswith("next: ") and "`bnconform explain running_variance`" in lines[-1]

    def test_verdict_of_what_nothing_explains(self) -> None:
        """The requirements are named in the place of a cause."""
        one = Diagnosis("numpy", (), 0, 3, "no decision of the behaviour space explains 3 of 3 failing checks")
        rows = [
            row("violates", requirement=name, failure=replace(FAILURES["number"], cause=one.text), message="m")
            for name in ("BN-A", "BN-B", "BN-C")
        ]
        text = draw(replace(run(*rows), diagnoses=(one,)), width=200)
        assert "numpy: 3 of 3 musts fail, 1 cause: unexplained: BN-A, BN-B and 1 more\n" in text

    def test_verdict_of_what_holds(self) -> None:
        """Deviations as declared and what is unsupported are counted beside it."""
        rows = [
            row(),
            row("deviates", requirement="BN-TRAIN-NORM", diagnosis=OUTSIDE),
            row("unsupported", requirement="BN-X"),
        ]
        assert draw(run(*rows), width=200).splitlines()[-2] == (
            "numpy: all 2 musts hold, as declared: epsilon_form = outside, 1 unsupported"
        )

    def test_a_part_is_never_green(self) -> None:
        """What was not judged is said in the verdict, and how to judge it."""
        column = ColumnSelection("numpy", "cpu", "float32", ("BN-RUN-VAR",), {"must": ("BN-TRAIN-NORM",)})
        part = replace(
            run(row()),
            selection=SelectionRecord((), (), (), ("-k x",), (column,)),
            completion=Completion(FINISHED, 9, 3, 3),
        )
        text = draw(part, width=200, force_terminal=True, color_system="standard")
        assert "\x1b[1;33mnumpy: 1 must holds (only a part: 1 of 2 musts judged; narrowed by -k x)" in text
        assert "next: without -k x the whole suite is asked" in text

    def test_verdict_of_each_backend(self) -> None:
        """Each has its line, in the order of the matrix, and many causes are cut."""
        rows = [row("crashed", backend="b", requirement=f"BN-{n}", message=f"died of {n}") for n in range(9)]
        lines = draw(run(row(backend="a"), *rows), width=200).splitlines()
        assert lines[-3] == "a: 1 must holds"
        assert lines[-2] == f"b: 9 of 9 musts fail, 9 causes: {'; '.join(f'died of {n}' for n in range(6))}; 3 more"


def test_what_mostly_refuses_is_not_green() -> None:
    """One model that conforms and many that were refused: brackets in the matrix, the numbers in the last lines."""
    rows = [row("conforms", models=1), *(row("unsupported", models=1, refused=1) for _ in range(4))]
    (merged,) = merge(rows)
    assert (merged.verdict, merged.models, merged.refused) == ("conforms", 5, 4)
    shown = draw(run(*rows))
    assert "(+)" in line_with(shown, "BN-RUN-VAR", "(+)")
    assert "( ) most models refused" in shown
    assert "4 of 5 times it refused the model, of which nothing is known" in " ".join(shown.split())
    fine = draw(run(row("conforms", models=1), row("unsupported", models=1, refused=1)))
    assert "(+)" not in fine and "1 of 2 times it refused the model" in " ".join(fine.split())
