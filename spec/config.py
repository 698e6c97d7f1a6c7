"""What a layer is asked to be: the configuration that an adapter's `build` receives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from bnconform.spec.formats import DTYPES

FEATURES = frozenset(
    {
        "training",
        "evaluation",
        "backward",
        "vjp",
        "jvp",
        "hvp",
        "jvp_jvp",
        "third",
        "masked",
        "masked_backward",
        "recomputed",
        "vmap",
        "vmap_layers",
        "jacrev",
        "jacfwd",
        "eval_shape",
        "saved_statistics",
        "freeze",
        "reset",
        "set",
    }
    | {"momentum_none", "any_options"}
    | {"replicated", "replicated_vjp", "replicas_unequal", "replicas_empty", "replicas_sizes"}
    | {"masked_replicated", "masked_replicated_vjp"}
    | {"vmap_tracked", "vmap_cumulative", "jacobian_tracked"}
    | {"affine", "affine_off", "weight_alone", "bias_alone"}
    | {"track_running_stats", "track_running_stats_off"}
    | {f"rank_{rank}" for rank in (2, 3, 4, 5)}
    | set(DTYPES)
)
"""What a requirement may need, and an implementation may lack: a mode, gradients, or a value of a configuration.

`any_options` is to be asked for a layer outside of the ranges of `Config`; `vmap_tracked` and `jacobian_tracked` are to
be mapped over batches, or differentiated to a whole Jacobian, in a training pass that moves running statistics, and
`vmap_cumulative` is to be one of several layers mapped together in training whose momentum is none."""

ALONE = {"weight": "weight_alone", "bias": "bias_alone"}
"""The feature that a layer with one of the two parameters asks for, by the one that it has."""

Affine = bool | Literal["weight", "bias"]


@dataclass(frozen=True)
class Config:
    """One BatchNorm layer, in PyTorch's words.

    Attributes:
        num_features: C, the number of channels (axis 1 of the input); at least 1.
        eps: the constant added to the variance (the square of the unit of x).
        momentum: the weight of the *new* batch in the running statistics, in [0, 1], or None for the cumulative
            average. An adapter whose framework weighs the old value passes 1 - momentum.
        affine: whether there are a weight and a bias, both or none; "weight" or "bias" where there is that one alone.
            `weight` and `bias` say it of each.
        track_running_stats: whether there are running statistics.
        ndim: the rank of the input, 2 to 5: (N, C), (N, C, L), (N, C, H, W), (N, C, D, H, W).
        dtype: the dtype of the input.
        param_dtype: the dtype of weight, bias and running statistics.

    Raises:
        ValueError: for a value outside these ranges.
    """

    num_features: int = 3
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: Affine = True
    track_running_stats: bool = True
    ndim: int = 4
    dtype: str = "float32"
    param_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.num_features < 1:
            raise ValueError(f"num_features is {self.num_features}; it must be at least 1")
        if not self.eps >= 0:
            raise ValueError(f"eps is {self.eps}; it must not be negative")
        if self.momentum is not None and not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum is {self.momentum}; it must be None or in [0, 1]")
        if self.affine not in (True, False, *ALONE):
            raise ValueError(f"affine is {self.affine!r}; it must be True, False, 'weight' or 'bias'")
        if not 2 <= self.ndim <= 5:
            raise ValueError(f"ndim is {self.ndim}; it must be 2, 3, 4 or 5")
        for name in (self.dtype, self.param_dtype):
            if name not in DTYPES:
                raise ValueError(f"unknown dtype {name!r}; the suite judges {', '.join(DTYPES)}")

    @property
    def weight(self) -> bool:
        """Whether there is a weight."""
        return self.affine in (True, "weight")

    @property
    def bias(self) -> bool:
        """Whether there is a bias."""
        return self.affine in (True, "bias")

    @property
    def has_one_parameter(self) -> bool:
        """Whether there is a weight and no bias, or a bias and no weight."""
        return self.weight != self.bias

    def features(self) -> frozenset[str]:
        """The ones of FEATURES that this configuration asks for."""
        wanted = {f"rank_{self.ndim}", self.dtype}
        if self.momentum is None:
            wanted.add("momentum_none")
        alone = ALONE.get(str(self.affine))
        wanted.add(alone or ("affine" if self.affine else "affine_off"))
        wanted.add("track_running_stats" if self.track_running_stats else "track_running_stats_off")
        return frozenset(wanted)

    def as_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready data."""
        return asdict(self)
