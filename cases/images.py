"""Small sets of images to train on: scikit-learn's digits, enlarged; or files in the format of MNIST and Fashion-MNIST.

The digits are 1797 images of 8x8 with values 0 to 16 (UCI, Optical Recognition of Handwritten Digits), which the
package scikit-learn ships. Each pixel becomes a square of 3x3, with a border of 2: 28x28, as the documents' network
takes it. Values are divided by 16, and those of the files (0 to 255) by 256, so that float32 holds them exactly.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.spec.errors import UserError

Array = NDArray[Any]

SIDE, CLASSES = 28, 10
"""The side of an image, and the number of classes."""

ENLARGED, BORDER = 3, 2
"""The side of the square that a pixel of a digit becomes, and the border around them."""

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
"""The files of a set, each as it is or with .gz behind its name; as Zalando's repository fashion-mnist has them."""

MAGIC = {3: 0x803, 1: 0x801}
"""What a file of unsigned bytes begins with, by the number of its dimensions."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images (M, 1, 28, 28) in float64, and the class of each, (M,) int64.

    Attributes:
        source: where they come from, in words.
    """

    images: Array
    labels: Array
    source: str


def digits() -> ImageSet:
    """scikit-learn's digits, enlarged.

    Raises:
        UserError: where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            'the digits come with scikit-learn, which is not installed: pip install "bnconform[train]"; or give a '
            "folder with the files of Fashion-MNIST, --data DIR"
        ) from None
    found = load_digits()
    squares = np.kron(np.asarray(found.images, np.float64) / 16, np.ones((ENLARGED, ENLARGED)))
    images = np.pad(squares, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))[:, None]
    return ImageSet(images, np.asarray(found.target, np.int64), "scikit-learn's digits, enlarged to 28x28")


def of_files(folder: Path, most: int) -> ImageSet:
    """The first `most` images of a folder with the files of MNIST or Fashion-MNIST.

    Raises:
        UserError: where a file is missing, or is not what it should be.
    """
    if not folder.is_dir():
        raise UserError(f"--data {folder}: there is no such folder; give one with {' and '.join(NAMES)}, or these .gz")
    images, labels = (_read(folder, name, dimensions) for name, dimensions in zip(NAMES, (3, 1), strict=True))
    if images.shape[1:] != (SIDE, SIDE):
        raise UserError(f"--data {folder}: images of {images.shape[1:]}; the network takes {SIDE}x{SIDE}")
    if len(images) != len(labels):
        raise UserError(f"--data {folder}: {len(images)} images and {len(labels)} labels; they are of different sets")
    if labels.max(initial=0) >= CLASSES:
        raise UserError(f"--data {folder}: a label {labels.max()}; the network tells {CLASSES} classes apart, 0 to 9")
    chosen = images[:most, None].astype(np.float64) / 256
    return ImageSet(chosen, labels[:most].astype(np.int64), f"{NAMES[0]} of --data")


def _read(folder: Path, name: str, dimensions: int) -> Array:
    """The array of a file of unsigned bytes with so many dimensions."""
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise UserError(f"--data {folder}: there is no {name}, nor {name}.gz")
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as problem:
        raise UserError(f"--data {path}: it cannot be read: {problem}") from None
    head = 4 + 4 * dimensions
    if len(data) < head or struct.unpack(">I", data[:4])[0] != MAGIC[dimensions]:
        raise UserError(f"--data {path}: it does not begin as an idx file of {dimensions} dimensions does")
    shape = struct.unpack(f">{dimensions}I", data[4:head])
    if len(data) - head != math.prod(shape):
        raise UserError(f"--data {path}: it says {shape} and has {len(data) - head} values; fetch the file again")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
