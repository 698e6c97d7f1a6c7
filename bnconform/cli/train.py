"""`bnconform train`: the documents' network, trained by many from equal weights on equal batches, and judged."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bnconform.cases import images
from bnconform.cli.parser import Parser, Verbs, add_verb, dtype_name, places
from bnconform.errors import UserError
from bnconform.execution.settings import settings
from bnconform.render import training_text
from bnconform.results import training
from bnconform.results.files import check_writable, write
from bnconform.results.visible import visible

if TYPE_CHECKING:
    from bnconform.judge.training.trajectory import Experiment
    from bnconform.results.training import TrainingResult

STEPS, BATCH = 50, 32
"""Steps, and images of a batch; the documents' batches have 128, which takes four times as long."""

LARGEST = 100_000
"""Steps, or images of a batch, that are too many to be meant."""


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs, "train", summary, example="bnconform train --backend my_adapter.py:MyBackend --dtype float32", run=run,
        parents=[places()],
    )  # fmt: skip
    parser.add_argument(
        "--backend", action="append", default=[], metavar="B",
        help="a layer by its name, FILE.py, FILE.py:CLASS or MODULE:CLASS, trained in a network of ours; NAME+lenet, a "
        "framework's own network; or all (default: every network that can run here); may be repeated",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", metavar="D", help="a device such as cpu or cuda:0 (default: cpu)")
    parser.add_argument(
        "--dtype", action="append", default=[], type=dtype_name, metavar="T",
        help="float64 or float32 (default: both); may be repeated",
    )  # fmt: skip
    parser.add_argument("--steps", type=_count, default=STEPS, metavar="N", help=f"steps of SGD (default: {STEPS})")
    parser.add_argument("--batch", type=_count, default=BATCH, metavar="N", help=f"images a step (default: {BATCH})")
    _add_files(parser)


def _add_files(parser: Parser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="a folder with Fashion-MNIST's files, train-images-idx3-ubyte and "
        "train-labels-idx1-ubyte, as they are or with .gz (default: scikit-learn's digits, of the extra `train`)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was found to a file")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write it as a page of Markdown")
    parser.add_argument("--plot", type=Path, metavar="PATH.svg", help="draw the trajectories (extra `train`)")
    parser.add_argument("--read", type=Path, metavar="PATH", help="train nothing: show what --json wrote before")


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {LARGEST}")
    return int(text)


def run(known: argparse.Namespace) -> int:
    """Print how far each is off, and what explains it: 0, or 1 where one violates or crashed.

    Raises:
        UserError, BackendError: where nothing can be trained.
    """
    from bnconform.judge.training.runs import failures

    for path, what in ((known.json, "the training"), (known.markdown, "the page"), (known.plot, "the picture")):
        if path is not None:
            check_writable(path, what)
    if known.plot is not None:
        _check_plot(known.plot)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    left_out: dict[str, str] = {}
    if known.read is not None:
        result = training.read(known.read)
    else:
        result, left_out = _train(known)
    if not result.rows:
        raise UserError("nothing was trained; `bnconform list` shows what can run here, and what would install more")
    console.print(training_text.table(result))
    console.print()
    console.print(training_text.explain_heads())
    for name, reason in left_out.items():
        console.print(f"left out: {visible(name)}: {visible(reason)}", markup=False, style="dim")
    _write(known, result)
    console.print(training_text.summary(result), markup=False)
    return 1 if failures(result.rows) else 0


def _train(known: argparse.Namespace) -> tuple[TrainingResult, dict[str, str]]:
    from bnconform.judge.training.runs import DTYPES, choose, train_all

    dtypes = list(dict.fromkeys(known.dtype)) or list(DTYPES)
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise UserError(
                f"train knows {' and '.join(DTYPES)}, not {dtype!r}: in half precision rounding grows too far"
            )
    here = settings(known.time_limit, 0, known.python, known.run_in)
    keys, left_out = choose(known.backend, here)
    experiment = _experiment(known)
    if not keys:
        raise UserError("no network can run here: " + "; ".join(f"{n}: {why}" for n, why in list(left_out.items())[:1]))
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(keys) * len(dtypes) * experiment.steps)
        result = train_all(
            experiment, keys, dtypes, here, device=known.device,
            say=lambda text: progress.update(task, description=visible(text)),
            made=lambda count: progress.advance(task, count),
        )  # fmt: skip
    return result, left_out


def _experiment(known: argparse.Namespace) -> Experiment:
    from bnconform.judge.training import experiment

    chosen = images.digits() if known.data is None else images.of_files(known.data, experiment.MOST)
    return experiment.experiment(chosen, known.steps, batch=known.batch)


def _check_plot(path: Path) -> None:
    if path.suffix != ".svg":
        raise UserError(f"--plot {path}: the picture is an SVG; give a name that ends in .svg")
    try:
        import matplotlib  # noqa: F401  only whether it is there
    except ImportError:
        raise UserError('--plot needs matplotlib: pip install "bnconform[train]"') from None


def _write(known: argparse.Namespace, result: TrainingResult) -> None:
    """Write the files that were asked for, and say so."""
    written: list[Path] = []
    if known.json is not None:
        training.write(known.json, result)
        written.append(known.json)
    if known.markdown is not None:
        write(known.markdown, training_text.page(result, _beside(known.markdown, known.plot)), "the page")
        written.append(known.markdown)
    if known.plot is not None:
        from bnconform.render.training_plot import picture

        write(known.plot, picture(result), "the picture")
        written.append(known.plot)
    _say(written)


def _beside(page: Path, picture: Path | None) -> str:
    """The picture's path from where the page lies; "" for none."""
    if picture is None:
        return ""
    return picture.name if picture.parent.resolve() == page.parent.resolve() else str(picture.resolve())


def _say(written: Sequence[Path]) -> None:
    for path in written:
        print(f"Written: {visible(str(path))}")
