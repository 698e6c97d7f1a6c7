"""The implementations that are judged, one file a family; each adapter calls a framework's *own* BatchNorm.

An adapter is two classes, a `Backend` and a `Layer`. Nothing need be inherited or imported from here; any two classes
with the members of these protocols do. A backend may say more of itself: `BackendDetails`. `LayerOptions` is what its
`build` is given, and `NoAnswer` the one thing that is looked at of an error.

Arrays are NumPy arrays. A dtype is named "float64", "float32", "float16" or "bfloat16" (through ml_dtypes).

Requirements on a backend, each with its reason:

* It runs in a process of its own (but with --in-process), so it may set what holds for a process as its framework
  wants it, inside its functions. What it prints is kept aside.
* The class is made without arguments, and importing its module imports no framework: the import sits inside the
  function that needs it, so that listing the backends costs nothing and works where a framework is missing.
* It computes nothing of BatchNorm itself. A formula in an adapter is judged in the framework's place and proves
  nothing about it. (The NumPy layer and those of the documents are hand-written because they are the subjects.)
* `deviations` names decisions of the behaviour space (`spec.behaviour`) and one of their values, each a documented
  intent; `documented` has, for each, a link to the place and what it says there. An untrue or stale declaration fails
  the run, since it is a promise.
* `unsupported` names features: "training", "evaluation", "backward", "momentum_none", "affine", "affine_off",
  "weight_alone", "bias_alone", "track_running_stats", "track_running_stats_off", "vjp", "jvp", "hvp", "masked",
  "masked_backward", "recomputed", "vmap", "vmap_layers", "jacrev", "jacfwd", "eval_shape", "vmap_tracked",
  "vmap_cumulative", "jacobian_tracked", "jvp_jvp", "third", "saved_statistics", "freeze", "reset", "set",
  "any_options" (to be asked for a momentum outside [0, 1], an epsilon that is negative or NaN, or no channels),
  "replicated", "replicated_vjp", "masked_replicated", "masked_replicated_vjp", "replicas_unequal", "replicas_empty",
  "replicas_sizes", "rank_2" to "rank_5", a dtype's name. The reason is shown to people, so it is a sentence.
  `unsupported_on` (optional) says what one kind of device lacks: {"mps": {"float64": "Apple's GPU has no float64"}}.
  `build` raises NotImplementedError for them, unless the framework itself refuses. An adapter never substitutes
  something near: what was asked for is judged, or nothing is.
* `devices` lists what can be used here and now, the CPU first; `build` and `build_default` take one of these names.
* `slow_to_start = True` says that each new configuration or shape costs time, as with compilers; the suite then takes
  the first case of each check, and of the others those that ask for nothing new, with a covering array of a few
  configurations. `shapes_cost_time = True` says that each new shape does: then the covering array is one over few
  shapes. What is left out so is not judged.
* `config` has `num_features` (C), `eps`, `momentum`, `weight`, `bias`, `track_running_stats`, `ndim` (the rank of the
  input, 2 to 5), `dtype` (the input's) and `param_dtype` (that of weight, bias and running statistics: float32 for
  half-precision input unless a case says otherwise). `momentum` is the weight of the *new* batch, or None for the
  cumulative average; where the framework's weighs the old value, the adapter passes 1 - momentum and says so in its
  docstring. `weight` and `bias` say each for itself whether there is one; where a framework has both or none, the
  adapter declares "weight_alone" and "bias_alone". `affine`, which adapters read before there were the two, is true
  where there are both and false where there is none; an adapter that reads nothing else of a layer with one is
  not judged by it, and the result says so.
* `build_default` passes nothing but the number of channels, because the defaults themselves are judged; its layer takes
  float32 input of rank 4.
* x has shape (N, C, *S), channels at axis 1, and any strides: overlapping, reversed and stepped ones too. An adapter
  hands them to the framework as they are wherever it has such strides, since a tidy copy would hide its layout bugs;
  for a channels-last framework the adapter moves the axis.
* `forward(x, training=...)` returns y, shape and dtype as the framework gives them, and moves the layer's own running
  statistics as the framework does. The adapter neither casts nor reshapes what comes out, as the dtype is judged.
* `backward(x, grad_output, training=...)` returns the gradients of sum(y * grad_output) for x (the shape of x), weight
  and bias (C,), with None where there is no parameter. It makes one forward pass of its own, so that it can be called
  alone; whether that moves the running statistics is left free, because frameworks differ in whether it can.
* `vjp(x, training=...)` (optional) records a pass: it returns y, as `forward` does, and a function
  `pullback(grad_output)` that returns what `backward` returns, by the framework's own means (autograd, a tape,
  jax.vjp). It is called later, again, after other calls and in the other mode, and must answer for the pass that was
  recorded; where the framework refuses, it refuses. The caller may write to x once the pass is made, so an adapter
  whose framework keeps the array gives it a copy. Whether the pass moves the running statistics is left free, once; the
  pullback moves nothing. A layer without the method is not asked; `unsupported` may say why under "vjp".
* `jvp(x, tangent, training=...)` (optional) is a forward pass with a derivative: it returns y and tangent_y, how fast y
  changes as x moves along the tangent (the shape of x), weight, bias and the state before the pass being held fixed, by
  the framework's forward mode (dual numbers, an accumulator, jax.jvp). `hvp(x, grad_output, vector, training=...)`
  (optional) returns how fast each of the three gradients of `backward` changes as x moves along the vector, by the
  framework's derivative of its gradient, in whichever modes; None where there is no parameter, and 0 where nothing
  flows. Both are asked as `vjp` is, and may move the running statistics, once.
* `replicated(xs, training=...)` (optional) is a forward pass of a batch that is spread over replicas of the layer, by
  the framework's own means (a mapped axis, processes, a strategy): xs is a list of shards (N_i, C, *S_i), one a
  replica, and so is what it returns: (y, state) of each, the state being what that replica remembers afterwards, as
  `state` shows it. Every replica begins as the layer is; whether the layer itself moves is left free.
  `replicated_vjp(xs, grad_outputs, training=...)` (optional) returns for each replica what `backward` does: the
  gradients of the sum over all replicas, for its shard and, as the replica itself gives them, for weight and bias
  (`replica_parameter_gradients`). Shards may be unequal in N_i ("replicas_unequal"), in S_i ("replicas_sizes"), and
  empty ("replicas_empty"); what a framework does not take is handed to it, and declared. Both are asked as `vjp` is.
* `masked_replicated(xs, masks, training=...)` and `masked_replicated_vjp(xs, masks, grad_outputs, training=...)`
  (optional) are to `replicated` and `replicated_vjp` what `masked` and `masked_backward` are to `forward` and
  `backward`: each replica is given a mask (N_i, 1, *S_i) of truth values besides its shard, by the framework's own
  argument for it. Both are asked as `vjp` is; a framework that declares "masked" or "replicated" unsupported has
  neither.
* `masked(x, mask, training=...)` (optional) is a forward pass whose statistics are of what the mask selects, by the
  framework's own argument for it. The mask is an array of bool, or of int64 0 and 1, of any shape that broadcasts to x,
  of its rank or lower, with the axes of x: an adapter whose framework has the channels elsewhere moves that axis of the
  mask, too, and states the mask in the form that the framework asks for, where there is one that means the same. It
  returns y for every position, as the framework gives it, and moves the running statistics as the framework does.
  `masked_backward(x, mask, grad_output, training=...)` (optional) is to it what `backward` is to `forward`: the
  gradients of sum(y * grad_output), y being that of `masked`, of a pass of its own. An adapter selects nothing itself.
  Both are asked as `vjp` is; where the framework takes no mask, `unsupported` says so under "masked".
* `recomputed(x, grad_output, training=...)` (optional) is one step as a user makes it who trades time for memory: a
  forward pass that keeps nothing but its input, by the framework's own means (checkpoint, remat), and a backward pass
  for which it is run again. It returns what `backward` returns. The layer is afterwards as such a step leaves it: what
  the framework moves by itself has moved, as often as it moves it, and where it hands out the new state, the layer has
  that one. It is asked as `vjp` is; a framework with several such means has a row for each that differs.
* `jvp_jvp(x, tangent, second, training=...)` (optional) is the derivative of the tangent of y as x moves along a second
  tangent, by forward mode of forward mode; both, and what it returns, have the shape of x. It is asked as `vjp` is.
* `third(x, grad_output, vector, second, training=...)` (optional) is the derivative of what `hvp` returns for x, as x
  moves along a second vector, by three backward passes, each through the one before; all of them, and what it returns,
  have the shape of x. It is asked as `vjp` is.
* `vmap(xs, training=...)` (optional) is the layer under the framework's own map over batches: xs, and the ys that it
  returns, have the shape (L, N, C, *S). What becomes of the layer's running statistics in training is left free; a
  framework that cannot move them there, and says so, refuses, and has "vmap_tracked" in `unsupported`.
  `vmap_layers(xs, states, training=...)` (optional) is the map over L layers of this configuration, each as this one
  would be after a `load` of its state, and each with its batch. It returns (ys, states), the second a list of what
  `state` would return of each. The layer itself stays. "vmap_cumulative" is such a map in training with momentum=None.
* `jacrev(x, training=...)` and `jacfwd(x, training=...)` (optional) are dy/dx by the framework's own means for a whole
  Jacobian, in reverse and in forward mode: (N, C, *S, N, C, *S), the axes of y first. Whether the pass moves the
  running statistics is left free, once. A framework that refuses to differentiate such a pass has "jacobian_tracked" in
  `unsupported`.
* `eval_shape(x, training=...)` (optional) is (shape, dtype) of the y that `forward` would give, the dtype by its name,
  by the framework's own means to learn them without computing y. All of these are asked as `vjp` is.
* `saved_statistics(x, training=...)` (optional) is a forward pass of its own, of which it returns what the framework's
  operator gives beside y for its backward pass: a dict with `mean`, `invstd` (1 / sqrt(variance + eps)) and `variance`,
  each (C,), those of the three that there are, under the name that the framework documents for each. What it does not
  give in a mode is left out, None, or an array without elements. Whether the running statistics move is left free,
  once. It is asked as `vjp` is.
* `freeze(frozen)` (optional) freezes the layer, or lets it train again, by the framework's own attribute or method for
  it (`trainable`, `requires_grad_`), and by nothing besides: what that means for the mode, the statistics and the
  gradients is what is judged. `backward` and pullbacks return None for a parameter of which the framework gives no
  gradient. It is asked as `vjp` is.
* `reset()` (optional) makes the running statistics and the counter as they are in a new layer, and leaves weight and
  bias, by the framework's own method for it. It is asked as `vjp` is.
* `set(**options)` (optional) changes `momentum`, `eps` and `track_running_stats`, as in the configuration, of a layer
  that has been built, by assigning to the framework's own attributes; NotImplementedError for one that it lacks. A
  framework whose layers cannot be changed declares "set" unsupported. It is asked as `vjp` is.
* `keeps_strides = True` (optional) on a layer says that its x lies in memory for the framework as it was given, and its
  results as the framework laid them, so that their memory format can be recorded; an adapter that moves axes, or makes
  results contiguous, leaves it out.
* `gradient_history()` (optional) of a layer names the entries of its state whose tensors carry a gradient history now,
  for frameworks that record one on tensors; statistics should carry none.
* `build_lazy(config, device)` (optional) of a backend, whose framework has layers that take the number of channels from
  their first input, gives such a layer before it has seen one; what it does then is recorded.
* `state()` returns a dict of running_mean, running_var, weight, bias, each (C,), and num_batches_tracked, a 0-d int64
  array; None where the layer has no such thing. They are copies, so that a state once seen stays as it was.
* `load(state)` sets any of them, copying; absent or None leaves an entry alone. One that the layer does not have is an
  error: a case must not run with less than it loaded.
* Inputs are neither changed nor kept, and results are arrays of their own: bytes are compared around every call.
* The framework's errors pass through unchanged. A refusal is an observation, and its message belongs to the framework.
  Where an adapter itself finds that its framework answered something else than was asked for (a program that did not
  compile, a process that died), it raises an error whose class has `is_refusal = False`: it should have answered.
* `name` is what --backend takes and what results call it; `packages` (optional) adds versions to those that a result
  names; `describe_device(device)` (optional) says what a device is, such as the name of a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LayerOptions(Protocol):
    """What `build` is given."""

    @property
    def num_features(self) -> int:
        """C, the number of channels; 0 where what a layer does with that is recorded."""

    @property
    def eps(self) -> float:
        """What is added to the variance."""

    @property
    def momentum(self) -> float | None:
        """The weight of the new batch; None for the cumulative average."""

    @property
    def weight(self) -> bool:
        """Whether there is a weight."""

    @property
    def bias(self) -> bool:
        """Whether there is a bias."""

    @property
    def affine(self) -> bool:
        """Whether there are both, for adapters that have both or none; an error where there is one of them."""

    @property
    def track_running_stats(self) -> bool:
        """Whether there are running statistics."""

    @property
    def ndim(self) -> int:
        """The rank of the input, 2 to 5."""

    @property
    def dtype(self) -> str:
        """The input's dtype."""

    @property
    def param_dtype(self) -> str:
        """The dtype of weight, bias and running statistics."""


class Layer(Protocol):
    """A layer with its own state."""

    def forward(self, x: NDArray[Any], *, training: bool) -> NDArray[Any]:
        """y, for x of shape (N, C, *S); in training the running statistics move."""

    def backward(
        self, x: NDArray[Any], grad_output: NDArray[Any], *, training: bool
    ) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """(grad_x, grad_weight, grad_bias) of sum(y * grad_output), of a forward pass of its own."""

    def state(self) -> Mapping[str, NDArray[Any] | None]:
        """running_mean, running_var, weight, bias, each (C,), and num_batches_tracked, (): copies, or None."""

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Set any of them, copying."""


class LayerAbilities(Protocol):
    """What a layer may have besides; each may be absent."""

    def vjp(
        self, x: NDArray[Any], *, training: bool
    ) -> tuple[NDArray[Any], Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]]]:
        """(y, pullback) of a pass that is recorded; the gradients of that pass are pullback(grad_output)."""

    def jvp(self, x: NDArray[Any], tangent: NDArray[Any], *, training: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """(y, tangent_y) of a forward pass: the output, and its derivative as x moves along the tangent."""

    def hvp(
        self, x: NDArray[Any], grad_output: NDArray[Any], vector: NDArray[Any], *, training: bool
    ) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """(hvp_x, hvp_weight, hvp_bias), the derivatives of what `backward` returns as x moves along the vector."""

    def replicated(
        self, xs: Sequence[NDArray[Any]], *, training: bool
    ) -> Sequence[tuple[NDArray[Any], Mapping[str, NDArray[Any] | None]]]:
        """(y, state) of each replica of a forward pass over shards of one batch."""

    def replicated_vjp(
        self, xs: Sequence[NDArray[Any]], grad_outputs: Sequence[NDArray[Any]], *, training: bool
    ) -> Sequence[tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]]:
        """(grad_x, grad_weight, grad_bias) that each replica gives, of the sum over all of sum(y * grad_output)."""

    def masked_replicated(
        self, xs: Sequence[NDArray[Any]], masks: Sequence[NDArray[Any]], *, training: bool
    ) -> Sequence[tuple[NDArray[Any], Mapping[str, NDArray[Any] | None]]]:
        """(y, state) of each replica, by the statistics of what the masks select of all shards."""

    def masked_replicated_vjp(
        self,
        xs: Sequence[NDArray[Any]],
        masks: Sequence[NDArray[Any]],
        grad_outputs: Sequence[NDArray[Any]],
        *,
        training: bool,
    ) -> Sequence[tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]]:
        """(grad_x, grad_weight, grad_bias) that each replica gives, of the sum over all, y being those with masks."""

    def masked(self, x: NDArray[Any], mask: NDArray[Any], *, training: bool) -> NDArray[Any]:
        """y, of the shape of x, by the statistics of what the mask selects; in training the running ones move by it."""

    def masked_backward(
        self, x: NDArray[Any], mask: NDArray[Any], grad_output: NDArray[Any], *, training: bool
    ) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """(grad_x, grad_weight, grad_bias) of sum(y * grad_output), y being that of `masked`."""

    def recomputed(
        self, x: NDArray[Any], grad_output: NDArray[Any], *, training: bool
    ) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """(grad_x, grad_weight, grad_bias) of a step whose forward pass is run again; the statistics move as in it."""

    def jvp_jvp(self, x: NDArray[Any], tangent: NDArray[Any], second: NDArray[Any], *, training: bool) -> NDArray[Any]:
        """second_y, of the shape of x: the derivative of the tangent of y along a second tangent."""

    def third(
        self, x: NDArray[Any], grad_output: NDArray[Any], vector: NDArray[Any], second: NDArray[Any], *, training: bool
    ) -> NDArray[Any]:
        """third_x, of the shape of x: the derivative of what `hvp` returns for x along a second vector."""

    def vmap(self, xs: NDArray[Any], *, training: bool) -> NDArray[Any]:
        """ys, of the shape of xs, (L, N, C, *S): the layer mapped over batches."""

    def vmap_layers(
        self, xs: NDArray[Any], states: Sequence[Mapping[str, NDArray[Any]]], *, training: bool
    ) -> tuple[NDArray[Any], Sequence[Mapping[str, NDArray[Any] | None]]]:
        """(ys, states): layers like this one mapped together, each loaded with its state; this one stays."""

    def jacrev(self, x: NDArray[Any], *, training: bool) -> NDArray[Any]:
        """dy/dx in reverse mode, (N, C, *S, N, C, *S)."""

    def jacfwd(self, x: NDArray[Any], *, training: bool) -> NDArray[Any]:
        """dy/dx in forward mode, (N, C, *S, N, C, *S)."""

    def eval_shape(self, x: NDArray[Any], *, training: bool) -> tuple[Sequence[int], str]:
        """(shape, dtype) of y; nothing moves."""

    def saved_statistics(self, x: NDArray[Any], *, training: bool) -> Mapping[str, NDArray[Any] | None]:
        """mean, invstd and variance of a forward pass, each (C,), as far as the operator gives them beside y."""

    def freeze(self, frozen: bool) -> None:
        """Freeze the layer, or let it train again."""

    def reset(self) -> None:
        """Make running statistics and counter as when new."""

    def set(self, **options: Any) -> None:
        """Change momentum (the weight of the new batch, or None), eps, or track_running_stats."""


class Backend(Protocol):
    """An implementation. Its class is made without arguments."""

    @property
    def name(self) -> str:
        """What --backend takes, and the title of its row, such as "torch.nn"."""

    @property
    def deviations(self) -> Mapping[str, str]:
        """What differs by documented intent, decision -> value: {"running_variance": "biased"}; {} where absent."""

    @property
    def unsupported(self) -> Mapping[str, str]:
        """Feature -> the reason, in words: {"momentum_none": "Keras has no cumulative average"}; {} where absent."""

    def devices(self) -> Sequence[str]:
        """What can be used here and now, the CPU first: ["cpu", "cuda:0"]."""

    def build(self, config: LayerOptions, device: str) -> Layer:
        """A new layer."""

    def build_default(self, num_features: int, device: str) -> Layer:
        """A new layer with the framework's own defaults."""


class BackendDetails(Protocol):
    """What a backend may say of itself besides; each may be absent, alone or with the others."""

    @property
    def documented(self) -> Mapping[str, str]:
        """Decision -> where the deviation is documented: {"running_variance": "https://...: its words"}."""

    @property
    def unsupported_on(self) -> Mapping[str, Mapping[str, str]]:
        """What one kind of device lacks: {"mps": {"float64": "Apple's GPU has no float64"}}."""

    @property
    def slow_to_start(self) -> bool:
        """Whether each new configuration or shape costs time, as with compilers."""

    @property
    def shapes_cost_time(self) -> bool:
        """Whether each new shape costs time, as where operations are compiled one by one."""

    @property
    def packages(self) -> Mapping[str, str]:
        """Version by distribution, beside those of the packages that the suite knows: {"my-kernels": "1.2"}."""

    def describe_device(self, device: str) -> str:
        """What a device is, for people, such as "NVIDIA H200"."""

    def build_lazy(self, config: Any, device: str) -> Layer:
        """A layer that takes the number of channels from its first input, before it has seen one."""


class NoAnswer(Protocol):
    """An error that says that the implementation should have answered: it is no refusal, whatever was due."""

    @property
    def is_refusal(self) -> bool:
        """False; an error without this attribute is a refusal."""
