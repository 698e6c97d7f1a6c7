"""What came of a training, as a table for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table
from rich.text import Text

from bnconform.results.training import INFINITE, TrainingResult, TrainingRow
from bnconform.results.visible import visible

QUANTITIES = ("loss", "running_mean", "running_var", "evaluation_loss")
HEADS = ("loss", "running mean", "running var", "evaluation loss")
"""The quantities, and what their columns are called."""

STYLES = {"conforms": "green", "deviates": "yellow", "violates": "bold red", "crashed": "bold red"}

SHOWN = 160
"""Characters of a refusal that are shown."""


def ratio(row: TrainingRow, quantity: str) -> str:
    """The largest error ratio of a quantity; "" where there is none."""
    if not row.ratios:
        return ""
    found = row.largest(quantity)
    return "not finite" if found >= INFINITE else f"{found:.2g}"


def why(row: TrainingRow) -> str:
    """Where a run left the bound and what explains it, or why there was none."""
    if row.words:
        return row.words if len(row.words) <= SHOWN else row.words[:SHOWN] + " ..."
    if not row.left_step:
        return ""
    explained = " and ".join(row.explained) or "nothing that was tried explains it"
    left = ", ".join(name.replace("_", " ") for name in row.left)
    return f"{explained}; first {left} at step {row.left_step}"


def table(result: TrainingResult) -> Table:
    """A row for each implementation and dtype: the largest error ratios, and what explains them."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    found.add_column("implementation", no_wrap=True)
    found.add_column("dtype", no_wrap=True)
    found.add_column("verdict", no_wrap=True)
    for head in ("loss", "mean", "var", "eval"):
        found.add_column(head, justify="right", no_wrap=True)
    found.add_column("", overflow="fold", ratio=1)
    for row in result.rows:
        numbers = [Text(ratio(row, name)) for name in QUANTITIES]
        short = row.dtype.replace("float", "f")
        verdict = Text(row.verdict, STYLES.get(row.verdict, "dim"))
        found.add_row(Text(visible(row.backend)), short, verdict, *numbers, Text(visible(why(row))))
    return found


def explain_heads() -> str:
    """What the table's numbers are, in a sentence."""
    return (
        "loss, mean, var, eval: the largest distance of the loss, the running means, the running variances and the "
        "evaluation loss from the reference, over the bound: up to 1 is rounding."
    )


def summary(result: TrainingResult) -> str:
    """How many of them came to what, in one line."""
    counts: dict[str, int] = {}
    for row in result.rows:
        counts[row.verdict] = counts.get(row.verdict, 0) + 1
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    return f"{len(result.rows)} trainings of {result.steps} steps: {told}"


# -- Markdown ----------------------------------------------------------------------------------------------------------


INTRODUCTION = """\
The network of the source documents, LeNet with BatchNorm, trained by everybody from the same weights on the same
batches: what a BatchNorm that is a little wrong costs in training, and where it shows. This page is made from the file
that `bnconform train --json` writes, by `bnconform train --read backends/training/result.json --markdown
backends/TRAINING.md --plot backends/training.svg`; a self-test compares them.

- The reference is a network of ours in double precision: convolution, pooling, sigmoid, dense layers, cross-entropy and
  SGD at rate 0.1 in NumPy, with a BatchNorm at any point of the [behaviour space](../spec/behaviour.py). Its gradients
  are held against central differences, its BatchNorm against the exact oracle.
- A number is the largest distance from the reference in all steps, over the bound there: up to 1 is rounding. The bound
  is by experiment: 4 runs of the reference in which every intermediate result is moved, with random signs, by what
  rounding may move it, times 8 ([how, and why](../bnconform/judge/training/bound.py)).
- `NAME+lenet` is the framework's own network, "concise" in the documents' word: its layers, gradients and optimiser. A
  name without it is that backend's BatchNorm in our network, so that every row of `bnconform list` that has gradients
  can be trained, and so can your own layer: `bnconform train --backend my_adapter.py:MyBackend`.
- What leaves the bound is explained by training the reference again with one or two decisions changed, until one run
  lies within the bound from the first step to the last. A declared deviation that does so makes the verdict `deviates`.
- With Fashion-MNIST, as in the documents: `bnconform train --data DIR`, where DIR holds `train-images-idx3-ubyte` and
  `train-labels-idx1-ubyte`, each as it is or with `.gz`."""

LESSONS = """\
## What it shows

- A wrong momentum, or the biased variance in the running statistics, is not seen in the training loss at all, which the
  running statistics have no part in: **the loss can be right to the last bit while the model that is evaluated, saved
  and shipped is another one.** It shows in the statistics after the first step, and in the evaluation loss.
- A wrong epsilon or a wrong estimator in the normalisation shows in everything, from the first step on.
- Document 001 calls its layer with momentum 0.9 and weighs the *old* value by it: as code (`documents.d2l_zh+lenet`)
  that is the momentum of everybody else. Its text takes momentum for the influence of the *new* batch: who follows the
  text (`documents.d2l_zh`) gets `momentum_weighs = running`. As printed (`+as_printed`) its forward returns nothing,
  and the next layer fails in the first step.
- Both documents remember the biased variance in their layer from scratch, and the unbiased one in the library's
  layer, which they give as the concise form of the same: the two training losses agree, the evaluation losses do not.
- Keras on JAX and on PyTorch computes a float64 layer in single precision
  ([a finding](findings/keras-float64-in-single.md)): within the bound of float32, and far beyond that of float64.
- Equinox remembers the biased variance ([a finding](findings/equinox-variance-not-unbiased.md)), and evaluates with one
  that is too large at first ([another](findings/equinox-evaluation-debias.md)): the loss is right, and no decision of
  the space explains the evaluation.
- A network is more than its BatchNorm. MLX's layer in our network (`mlx`) follows the reference in float64; MLX's own
  network (`mlx+lenet`) does not, because its convolution, `exp` and `sigmoid` have seven digits there."""


def page(result: TrainingResult, picture: str) -> str:
    """The page, as Markdown.

    Args:
        picture: the path of the picture, from where the page lies; "" for none.
    """
    lines = ["# Training", "", INTRODUCTION, ""]
    lines += [f"![Loss and error ratios, step by step]({picture})", ""] if picture else []
    lines += [
        f"Images: {result.source}; {result.steps} steps of {result.batch} images, {result.held_out} held out for the "
        f"evaluation loss. {_losses(result)}",
        "",
    ]
    for dtype in result.bounds:
        lines += [f"## {dtype}", "", *_bounds(result, dtype), "", *_rows(result, dtype), ""]
    lines += [*LESSONS.split("\n"), "", f"Versions: {_versions(result)}."]
    return "\n".join(lines) + "\n"


def _losses(result: TrainingResult) -> str:
    first, last = result.losses["loss"][0], result.losses["loss"][-1]
    held = result.losses["evaluation_loss"]
    return (
        f"The reference's loss goes from {first:.3g} to {last:.3g}, its evaluation loss from {held[0]:.3g} to "
        f"{held[-1]:.3g}."
    )


def _bounds(result: TrainingResult, dtype: str) -> Iterator[str]:
    found = result.bounds[dtype]
    told = ", ".join(
        f"{head} {found[name][0]:.1e} to {found[name][-1]:.1e}" for name, head in zip(QUANTITIES, HEADS, strict=True)
    )
    yield f"The bound at the first step and at the last: {told}."


def _rows(result: TrainingResult, dtype: str) -> Iterator[str]:
    yield f"| implementation | verdict | {' | '.join(HEADS)} | what explains it |"
    yield "|---|---|---:|---:|---:|---:|---|"
    for row in result.rows:
        if row.dtype == dtype:
            numbers = " | ".join(ratio(row, name) for name in QUANTITIES)
            yield f"| `{row.backend}` | {row.verdict} | {numbers} | {visible(why(row)).replace('|', chr(92) + '|')} |"


def _versions(result: TrainingResult) -> str:
    found: dict[str, str] = {}
    for row in result.rows:
        packages: Mapping[str, str] = row.packages or {}
        found.update(packages)
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))
