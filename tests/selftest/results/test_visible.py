"""What a result or an adapter says is shown and never obeyed, in every output."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bnconform.backends.registry import BackendError
from bnconform.cases.json_files import FAULTS, LARGEST, JsonForm
from bnconform.cli import output
from bnconform.render import baseline_text, comparison_text, markdown
from bnconform.results import result as results
from bnconform.results.compare import compare
from bnconform.results.visible import cut_names, visible
from bnconform.spec.errors import UserError
from bnconform.tests.selftest.command import bnconform
from bnconform.tests.selftest.rows import FULL, row, run

EVIL = "a\nb\r\x1b[2J\x07\u202e\u2028\ud800\x00c"
SAFE = r"a\nb\r\x1b[2J\x07\u202e\u2028\ud800\x00c"


def test_visible() -> None:
    """Whatever is not printable is its escape; a wide or narrow space is a space; what is kept stays."""
    assert visible(EVIL) == SAFE and visible("plain [red]") == "plain [red]"
    assert visible("a\u00a0b\u3000c") == "a b c"
    assert visible("a\n\tb", keep="\n\t") == "a\n\tb"


def test_bounded() -> None:
    """Of many names the first are told, each cut, and how many more there are."""
    assert cut_names(["cpu"]) == "cpu" and cut_names(["a", "b"]) == "a, b"
    assert cut_names([f"cuda:{n}" for n in range(4000)], most=2) == "cuda:0, cuda:1 and 3998 more"
    assert len(cut_names(["x" * 10**6])) == 80 and cut_names([EVIL]) == SAFE


def test_refusals_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line end or an escape in what is refused is written out."""
    output.say(BackendError(EVIL))
    assert capsys.readouterr().err == f"bnconform: {SAFE}\n"


def test_run_refuses_in_one_line(tmp_path: Path) -> None:
    """So it is where pytest says it, and in the other verbs."""
    for words in (("--backend", "no\nsuch\x1b[2J"), ("identify", "--backend", "no\nsuch\x1b[2J")):
        answer = bnconform(tmp_path, *words)
        answer.assert_refused(r"no\nsuch\x1b[2J")
        assert "\x1b" not in answer.out + answer.err


def test_a_device_that_is_one_of_thousands(tmp_path: Path) -> None:
    """The refusal of a device names some of those that there are."""
    (tmp_path / "many.py").write_text(
        "from bnconform.backends.numpy_layer import NumpyBackend\n"
        "class Many(NumpyBackend):\n    name = 'many'\n"
        "    def devices(self): return [f'cuda:{n}' for n in range(3000)]\n"
    )
    answer = bnconform(tmp_path, "--backend", "many.py", "--device", "tpu:0", "--dtype", "f32")
    answer.assert_refused("many has no device 'tpu:0' here: many has cuda:0, cuda:1", "and 2992 more")


def texts() -> dict[str, str]:
    """What each face says of a result full of such words, without the line ends that are its own."""
    evil = run(row("violates", backend=EVIL, device=EVIL, requirement=EVIL, message=EVIL))
    stream = io.StringIO()
    baseline_text.show([EVIL], Console(file=stream, width=200, _environ={}))
    baseline = stream.getvalue()
    compared = [
        compare(("a", evil), ("b", replace(evil, rows=tuple(replace(r, verdict="crashed") for r in evil.rows))))
    ]
    stream = io.StringIO()
    comparison_text.render(compared, Console(file=stream, width=400, _environ={}))
    return {
        "baseline": baseline,
        "comparison": stream.getvalue(),
        "Markdown of a comparison": comparison_text.markdown(compared),
        "Markdown": markdown.markdown(evil, {}),
    }


@pytest.mark.parametrize("face", texts())
def test_every_face_shows_it(face: str) -> None:
    """None of the characters is in it, and what stands for them is."""
    text = texts()[face]
    assert not {"\r", "\x1b", "\x07", "\u202e", "\u2028", "\ud800", "\x00"} & set(text)
    assert "x1b" in text and "202e" in text


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """Its size is looked at first; it has holes here, and would be read for minutes."""
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.truncate(LARGEST + 1)
    with pytest.raises(UserError, match="is larger than 256 MiB, which no result is"):
        results.read(path)


def test_a_file_of_faults_is_refused_soon() -> None:
    """Of any number of faults some are looked at: the rest of the file is not."""
    asked = set()

    class Entries(list):  # type: ignore[type-arg]
        """Notes which entries are looked at."""

        def __getitem__(self, place: Any) -> Any:
            asked.add(place)
            return super().__getitem__(place)

    form = JsonForm("list", {"type": "array", "items": {"type": "integer"}})
    with pytest.raises(UserError, match="is not of type 'integer'"):
        form.check(Entries(["x"] * 10**4))
    assert 0 < len(asked) <= FAULTS + 1


def test_a_whole_result_is_still_read(tmp_path: Path) -> None:
    """What is bounded is far from what a run writes."""
    results.write(tmp_path / "r.json", FULL)
    assert results.read(tmp_path / "r.json") == FULL
    assert json.loads((tmp_path / "r.json").read_text())["schema"] == results.SCHEMA
    assert (tmp_path / "r.json").stat().st_size * 1000 < LARGEST
