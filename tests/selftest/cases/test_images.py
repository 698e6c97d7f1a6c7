"""Sets of images: the digits, and files in the form of Fashion-MNIST's, whole and malformed."""

from __future__ import annotations

import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnconform.cases import images
from bnconform.spec.errors import UserError

COUNT = 6


def idx(shape: tuple[int, ...], values: bytes = b"") -> bytes:
    """A file of unsigned bytes of this shape."""
    size = int(np.prod(shape))
    body = values or bytes(place % 10 for place in range(size))
    return struct.pack(f">I{len(shape)}I", 0x800 + len(shape), *shape) + body


def fill(folder: Path, *, packed: bool = False, count: int = COUNT, labels: int = COUNT, side: int = 28) -> Path:
    """A folder with a set of so many images and labels."""
    for name, data in zip(images.NAMES, (idx((count, side, side)), idx((labels,))), strict=True):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_files_are_read(packed: bool, tmp_path: Path) -> None:
    """Plain or packed, as many as are wanted, with values that float32 holds exactly."""
    found = images.of_files(fill(tmp_path, packed=packed), 5)
    assert found.images.shape == (5, 1, 28, 28)
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    assert found.images[0, 0, 0, 3] == 3 / 256
    assert (found.images.astype(np.float32) == found.images).all()


def _cut(folder: Path) -> None:
    path = folder / images.NAMES[0]
    path.write_bytes(path.read_bytes()[:-1])


def _unpackable(folder: Path) -> None:
    (folder / images.NAMES[1]).rename(folder / f"{images.NAMES[1]}.gz")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda folder: (folder / images.NAMES[1]).unlink(), f"there is no {images.NAMES[1]}, nor"),
    "cut": (_cut, "fetch the file again"),
    "empty": (lambda folder: (folder / images.NAMES[0]).write_bytes(b""), "does not begin as an idx file"),
    "swapped": (lambda folder: (folder / images.NAMES[0]).write_bytes(idx((COUNT,))), "of 3 dimensions"),
    "no gz": (_unpackable, "it cannot be read"),
    "labels": (lambda folder: fill(folder, labels=COUNT - 1), "6 images and 5 labels"),
    "side": (lambda folder: fill(folder, side=8), "the network takes 28x28"),
    "class": (lambda folder: (folder / images.NAMES[1]).write_bytes(idx((COUNT,), bytes([10] * COUNT))), "a label 10"),
}


@pytest.mark.parametrize(("spoil", "words"), FAULTS.values(), ids=FAULTS)
def test_malformed_files_are_refused(spoil: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    """One line that says what is wrong with which file."""
    spoil(fill(tmp_path))
    with pytest.raises(UserError, match=words) as problem:
        images.of_files(tmp_path, COUNT)
    assert str(tmp_path) in str(problem.value) and "\n" not in str(problem.value)


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    """With the names of the files that belong into it."""
    with pytest.raises(UserError, match=images.NAMES[0]):
        images.of_files(tmp_path / "absent", COUNT)


def test_the_digits_are_whole() -> None:
    """1797 of them, each pixel a square, with values that float32 holds exactly."""
    pytest.importorskip("sklearn")
    found = images.digits()
    assert found.images.shape == (1797, 1, 28, 28) and sorted(set(found.labels)) == list(range(10))
    inner = found.images[:, 0, 2:-2, 2:-2]
    assert (inner[:, ::3, ::3] == inner[:, 2::3, 1::3]).all() and found.images.max() == 1
    assert (found.images.astype(np.float32) == found.images).all()


def test_without_scikit_learn_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra, and the other way."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"bnconform\[train\].*--data DIR"):
        images.digits()
