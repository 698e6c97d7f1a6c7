"""The matrix in the terminal: nothing is lost without colour, and 100 columns are enough."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bnconform.render.matrix import LETTERS, render
from bnconform.results.result import VERDICTS, Difference, Result, Row, Usage
from bnconform.tests.selftest.results.test_failure import FAILURES, TEXTS
from bnconform.tests.selftest.rows import ALL_DTYPES, CHAPTERS, FULL, STRICTNESS, TITLES, grid, row, run


def drawn(result: Result, width: int = 100, encoding: str = "utf-8", **console: Any) -> str:
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
        text = drawn(run(*grid(backends), backends={name: Usage(3, 1.0) for name in backends}), width)
        assert max(len(line) for line in text.splitlines()) <= width

    @pytest.mark.parametrize("count", [1, 3, 9])
    @pytest.mark.parametrize("dtypes", [("float64",), ALL_DTYPES], ids=["one dtype", "four dtypes"])
    @pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cuda:0")], ids=["cpu", "two devices"])
    def test_every_verdict_is_shown_once(self, count: int, dtypes: tuple[str, ...], devices: tuple[str, ...]) -> None:
        """Dealt out over several tables, no cell is lost and none is shown twice."""
        everything = grid([f"backend.number_{n}" for n in range(count)], dtypes, devices)
        rows = [entry for entry in everything if entry.requirement == "BN-RUN-VAR"]
        lines = drawn(run(*rows)).split("What does not conform")[0].splitlines()
        words = " ".join(line for line in lines if line.startswith("BN-RUN-VAR ")).split()
        marks = [word for word in words if word in LETTERS.values()]
        assert sorted(marks) == sorted(LETTERS[entry.verdict] for entry in rows)

    def test_backend_wider_than_the_console_is_split(self) -> None:
        """More dtypes than fit in a line go on in a table below, and every one is there."""
        dtypes = [f"float8_e{number}m{7 - number}" for number in range(8)]
        lines = drawn(run(*(row(dtype=dtype) for dtype in dtypes)), width=60).splitlines()
        assert [word for line in lines for word in line.split() if word.startswith("float8")] == dtypes
        assert "".join(line for line in lines if line.startswith("BN-RUN-VAR")).count("+") == len(dtypes)

    def test_cell_stands_under_its_header(self) -> None:
        """A verdict stands in the column of its backend, device and dtype."""
        wrong = ("b", "cpu", "float16")
        rows = [row("violates" if entry.key[:3] == wrong else "conforms", **place(entry)) for entry in grid(["a", "b"])]
        lines = drawn(run(*rows)).splitlines()
        dtypes = next(line for line in lines if "f64" in line)
        column = dtypes.rindex(" f16") + 1
        names = lines[lines.index(dtypes) - 2]
        cells = next(line for line in lines if line.startswith("BN-RUN-VAR"))
        assert cells[column] == "V"
        assert cells.split().count("V") == 1
        assert names.index("a") < names.index("b") <= column

    def test_readable_without_colour(self) -> None:
        """Without a terminal there is not one escape code, and a legend says what the letters mean."""
        text = drawn(run(*grid(["numpy", "torch.nn"])))
        assert "\x1b" not in text
        assert text.isascii()
        legend = line_with(text, "+ conforms")
        assert all(f"{letter} {verdict}" in legend for verdict, letter in LETTERS.items())

    def test_colour_where_the_terminal_has_it(self) -> None:
        """On a terminal with colours a violated must is red, and the letters are the same."""
        text = drawn(run(row("violates")), force_terminal=True, color_system="standard")
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
        text = drawn(run(row("violates", requirement=requirement)))
        words = next(line for line in text.splitlines() if line.startswith(requirement)).split()
        level = STRICTNESS.get(requirement)
        assert words[: 3 if level else 2] == [requirement, *([f"({level})"] if level else []), letter]
        assert text.count(f"{letter} violates  {requirement}") == 1

    def test_chapters_in_the_order_given(self) -> None:
        """Requirements stand under their chapters, in the order of the catalogue; unknown ones come last."""
        lines = drawn(run(*grid(["numpy"]), row(requirement="BN-A-NEW-ONE"))).splitlines()
        table = [line.split("  ")[0] for line in lines[lines.index("Training forward") :]]
        wanted = [
            "Training forward", "BN-TRAIN-NORM",
            "Running statistics", "BN-RUN-VAR",
            "Edge cases", "BN-EDGE-ONE-VALUE-POLICY (may)",
            "Numerical quality", "BN-NUM-STABLE (should)",
            "Other", "BN-A-NEW-ONE",
        ]  # fmt: skip
        assert table[: len(wanted)] == wanted

    def test_findings_say_what_and_why(self) -> None:
        """A failure is listed with its title and all that its record says; one without a record with its message."""
        lines = drawn(FULL).splitlines()
        start = lines.index("V violates  BN-RUN-VAR  numpy  cpu float32")
        assert lines[start + 2 : start + 4] == ["    is 1.0,", "    should be 1.25"]
        [finding] = [one for one in FULL.rows if one.verdict == "violates"]
        lines = drawn(run(replace(finding, failure=FAILURES["number"], message="not looked at"))).splitlines()
        start = lines.index("V violates  BN-RUN-VAR  numpy  cpu float32")
        record = [line[2:] for line in TEXTS["number"].splitlines()[1:]]
        assert lines[start + 2 : start + 2 + len(record)] == [f"    {line}" for line in record]

    def test_short_findings_give_diagnosis_and_case(self) -> None:
        """A finding of one line is listed with it, its diagnosis and its case."""
        [finding] = [one for one in FULL.rows if one.verdict == "violates"]
        lines = drawn(run(replace(finding, message="is 1.0"))).splitlines()
        start = lines.index("V violates  BN-RUN-VAR  numpy  cpu float32")
        assert lines[start + 1 : start + 4] == [
            "    is 1.0",
            "    explained by running_variance = biased",
            "    case: cases/BN-RUN-VAR.json",
        ]

    def test_findings_begin_with_what_fails_the_run(self) -> None:
        """Failures of a must come first, the worst before the others; a should follows, however bad."""
        rows = [
            row("crashed", requirement="BN-NUM-STABLE"),
            row("deviates", requirement="BN-TRAIN-NORM"),
            row("violates"),
        ]
        text = drawn(run(*rows))
        heads = [line for line in text.splitlines() if line[1:3] in (" v", " d", " c") and "  numpy  " in line]
        assert [head[0] for head in heads] == ["V", "D", "c"]

    def test_one_explanation_is_one_entry(self) -> None:
        """Dtypes with one diagnosis share an entry, which shows the worst of them."""
        rows = [
            row(
                "violates",
                dtype=dtype,
                diagnosis=(Difference("running_variance", "biased"),),
                message=f"found in {dtype}",
                bound_share=share,
            )
            for dtype, share in zip(ALL_DTYPES, (2.0, 30.0, 4.0, 5.0), strict=True)
        ]
        lines = drawn(run(*rows)).splitlines()
        start = lines.index("V violates  BN-RUN-VAR  numpy  cpu float64, float32, float16, bfloat16")
        assert lines[start + 1] == "    found in float32"

    def test_unlike_messages_are_entries_of_their_own(self) -> None:
        """Without a diagnosis, dtypes whose messages differ are listed one by one."""
        rows = [row("crashed", dtype=dtype, message=f"died of {number}") for number, dtype in enumerate(ALL_DTYPES)]
        text = drawn(run(*rows))
        assert [line.split()[-1] for line in text.splitlines() if "crashed  BN" in line] == list(ALL_DTYPES)

    def test_messages_that_differ_in_names_are_one_entry(self) -> None:
        """A message that names its own device and dtype is not another message for it; the entry says where."""
        where = [("cpu", "float32"), ("cuda:0", "float32"), ("cpu", "float64")]
        rows = [row("crashed", device=at, dtype=dtype, message=f"no answer on {at}-{dtype}") for at, dtype in where]
        text = drawn(run(*rows))
        assert [line for line in text.splitlines() if "crashed  BN" in line] == [
            "C crashed  BN-RUN-VAR  numpy  cpu float64, float32; cuda:0 float32"
        ]

    def test_one_reason_is_one_entry(self) -> None:
        """What is unsupported for one reason is listed once, with all the requirements that it concerns."""
        places = itertools.product(CHAPTERS, ALL_DTYPES)
        rows = [row("unsupported", requirement=name, dtype=dtype, message="no such thing") for name, dtype in places]
        lines = drawn(run(*rows), width=120).splitlines()
        names = "BN-TRAIN-NORM, BN-RUN-VAR, BN-EDGE-ONE-VALUE-POLICY (may), BN-NUM-STABLE (should)"
        assert lines[lines.index(f"- unsupported  numpy  {names}") + 1] == "    no such thing"

    def test_nothing_to_list(self) -> None:
        """Where everything conforms there is no list of what does not."""
        assert "does not conform" not in drawn(run(row()))

    def test_summary(self) -> None:
        """One line counts verdicts by level, checks and seconds; one says how much of them each backend took."""
        rows = [*FULL.rows, row("violates", requirement="BN-NUM-STABLE")]
        text = drawn(run(*rows, backends=dict(FULL.environment.backends)))
        assert text.splitlines()[-2:] == [
            "must: 1 conforms, 1 violates, 1 unsupported; should: 1 violates; 6 checks in 8.0 s",
            "inside the backend's own calls, all processes together: numpy 2.0 s, torch.nn 0.5 s",
        ]

    def test_nothing_judged(self) -> None:
        """A run without rows says so rather than showing an empty success."""
        assert "nothing was judged" in drawn(run())

    def test_environment_is_echoed(self) -> None:
        """The first lines say what was judged, and with which versions."""
        first = drawn(FULL).splitlines()[0]
        assert "bnconform 0.1.0, Python 3.11.7, numpy 2.4.6, torch 2.13.0" in first

    def test_messages_are_text(self) -> None:
        """Markup, escape codes and tabs in a framework's message are shown, not obeyed."""
        text = drawn(
            run(row("crashed", message="got [red]x[/red] \x1b[2J\tand")), force_terminal=True, color_system=None
        )
        assert "got [red]x[/red]  [2J and" in text
        assert "\x1b" not in text

    def test_console_without_unicode(self) -> None:
        """A message in letters that the console cannot encode is shown as far as it can."""
        assert "got ? as it was" in drawn(
            run(row("crashed", message="got σ² as it was".replace("²", ""))), encoding="ascii"
        )
