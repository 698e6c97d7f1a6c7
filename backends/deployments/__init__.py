"""Deployments: tools that take a trained model and give what is shipped, by folding, freezing, exporting or compiling.

A deployment is a backend of another kind. It is given a small model as data and judged by one question: does what comes
out of the tool predict what the model in evaluation predicts? Nothing need be inherited or imported from here.

Requirements, besides those on every backend that `bnconform.backends` names (a name, declarations, devices, no
framework at the top of a module, errors that pass through unchanged):

* `load(model, device)` makes the tool's own model: the layers of its framework, with the model's arrays as their
  weights and statistics, in the model's dtype, each layer in the mode that its `training` option says. It folds
  nothing.
* `deploy(original, example)` takes it through the tool's own documented entry point and returns what predicts: a
  function of one NumPy array that returns one. `example` is an input for tools that trace, and none of those that are
  predicted. What the tool's documentation asks of its user is done, such as the list of modules to fuse, and nothing
  else: no mode is set, nothing is repaired.
  What predicts may have a method `layers()`, which gives the layers that the result holds, by their names in the model:
  (weight, bias), as the tool holds them, in the model's own layout, the bias None where there is none. Layers that the
  tool's format hides, or whose name is lost, are left out; what has another name is not looked at.
* `parameters(original)` returns the arrays and flags of the framework's model, copied, by name: whether deploying
  leaves it as it was.
* `unsupported` names dtypes, with the reason. Whatever else the tool cannot do it refuses itself, by raising; what it
  says is shown, and the model is unsupported. NotImplementedError is for what the adapter cannot ask for.
* `deviations` may name `epsilon_value = "single_precision"`, where the tool's format stores it so.
* `lower_precision` may name, by the dtype of a model, another to which the tool rounds by default: weights that it
  stores in float16, operands and results that it makes bfloat16 (its sums are in the model's own dtype). It has a bound
  of its own; what keeps within that alone *deviates*, as declared. `documented["lower_precision"]` says where that is
  told.
* `own(model)`, where the tool takes a user's own model (`bnconform deploy`), gives it as `deploy` takes an original.
* `slow_to_start = True` says that each model costs seconds: it is asked few of them; `takes_long = True`, that
  each costs ten seconds and more: it is asked the fewest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnconform.backends.runner.deployments import ModelData

Predict = Callable[["NDArray[Any]"], "NDArray[Any]"]
"""(N, ...) to what the deployed model predicts of it."""


class Deployment(Protocol):
    """A tool. Its class is made without arguments."""

    @property
    def name(self) -> str:
        """What --backend takes, and the title of its row, such as "torch.fx.fuse"."""

    @property
    def deviations(self) -> Mapping[str, str]:
        """What the tool documents otherwise than the specification; {} where absent."""

    @property
    def unsupported(self) -> Mapping[str, str]:
        """Dtype -> the reason, in words; {} where absent."""

    @property
    def lower_precision(self) -> Mapping[str, str]:
        """Dtype of a model -> the one to which the tool rounds by default; {} where absent."""

    @property
    def takes_long(self) -> bool:
        """Whether each model costs ten seconds and more, so that the fewest are asked; False where absent."""

    def devices(self) -> Sequence[str]:
        """What can be used here and now, the CPU first."""

    def load(self, model: ModelData, device: str) -> Any:
        """The tool's own model."""

    def deploy(self, original: Any, example: NDArray[Any]) -> Predict:
        """What the tool makes of it."""

    def parameters(self, original: Any) -> Mapping[str, NDArray[Any]]:
        """Its arrays and flags."""
