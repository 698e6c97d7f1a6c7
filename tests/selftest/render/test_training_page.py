"""The page of the training: it is made from the data beside it, and so is the picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnconform import backends
from bnconform.render.training_plot import digest, picture
from bnconform.render.training_text import page, summary
from bnconform.results import training
from bnconform.results.training import TrainingFileError

FOLDER = Path(backends.__file__).parent
RESULT = training.read(FOLDER / "training" / "result.json")


def test_the_page_is_of_the_data() -> None:
    """Word for word, with the picture beside it."""
    assert (FOLDER / "TRAINING.md").read_text("utf-8") == page(RESULT, "training.svg")


def test_the_picture_is_of_the_data() -> None:
    """It says so of itself; Matplotlib's own changes do not matter."""
    assert f"data {digest(RESULT)}" in (FOLDER / "training.svg").read_text("utf-8")
    assert f"data {digest(RESULT)}" in picture(RESULT)


def test_the_data_are_whole() -> None:
    """Both dtypes, every framework's network, and nothing that a page would have to explain away."""
    rows = {(row.backend, row.dtype): row for row in RESULT.rows}
    for name in ("torch.nn+lenet", "flax.nnx+lenet", "keras+tensorflow+lenet", "documents.d2l_zh"):
        assert (name, "float64") in rows and (name, "float32") in rows
    assert {"deviates", "conforms"} <= {row.verdict for row in RESULT.rows}
    assert str(len(RESULT.rows)) in summary(RESULT)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The same result, and the same text."""
    training.write(tmp_path / "result.json", RESULT)
    assert training.read(tmp_path / "result.json") == RESULT


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "bnconform/training/1"}'], ids=["cut", "no object", "lacking"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    """In one line that names the file."""
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrainingFileError, match=r"other\.json"):
        training.read(path)
