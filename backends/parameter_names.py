"""What each framework calls the same things: how a layer of one is written down for another.

Read off the frameworks' own signatures and state. `bnconform porting` puts it beside what is measured; that arrays
carried under these names give the same evaluation is measured there, too.
"""

from __future__ import annotations

from collections.abc import Mapping

WORDS = ("weight", "bias", "running_mean", "running_var", "eps", "momentum")
"""PyTorch's words. The last is an argument in terms of the weight of the *new* batch."""

NONE = ""
"""The framework has no such thing, or the caller keeps it."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "torch.nn": WORDS,
    "torch.functional": WORDS,
    "torch.native_batch_norm": WORDS,
    "tabnet.gbn": WORDS,
    "flax.nnx": ("scale", "bias", "mean", "var", "epsilon", "1 - momentum"),
    "flax.linen": (
        "params/scale", "params/bias", "batch_stats/mean", "batch_stats/var", "epsilon", "1 - momentum",
    ),
    "equinox": ("weight", "bias", "state: mean", "state: variance", "eps", "1 - momentum"),
    "haiku": ("scale", "offset", "mean_ema: average", "var_ema: average", "eps", "1 - decay_rate"),
    "jax.stax": ("gamma", "beta", NONE, NONE, "epsilon", NONE),
    "keras": ("gamma", "beta", "moving_mean", "moving_variance", "epsilon", "1 - momentum"),
    "tf_keras": ("gamma", "beta", "moving_mean", "moving_variance", "epsilon", "1 - momentum"),
    "tf.nn": ("scale", "offset", "mean", "variance", "variance_epsilon", NONE),
    "tf.fused": ("scale", "offset", "mean", "variance", "epsilon", "exponential_avg_factor"),
    "onnxruntime": ("scale", "B", "input_mean", "input_var", "epsilon", "1 - momentum"),
    "onnx.reference": ("scale", "B", "input_mean", "input_var", "epsilon", "1 - momentum"),
    "mlx": WORDS,
    "paddle": ("weight", "bias", "_mean", "_variance", "epsilon", "1 - momentum"),
    "tinygrad": WORDS,
    "mindspore": ("gamma", "beta", "moving_mean", "moving_variance", "eps", "1 - momentum"),
}  # fmt: skip
"""In the order of WORDS, by the name of a backend without its variant."""


def names_for(name: str) -> dict[str, str]:
    """PyTorch's words to the framework's, for those that it has; empty for what is no framework."""
    words = FAMILIES.get(name.partition("+")[0], ())
    return {word: own for word, own in zip(WORDS, words, strict=False) if own}


NO_DEFAULT: Mapping[str, tuple[str, ...]] = {
    "torch.native_batch_norm": ("eps", "momentum"),
    "haiku": ("momentum",),
    "jax.stax": ("momentum",),
    "tf.nn": ("eps", "momentum"),
}
"""What a caller must say, or cannot, by the name of a backend without its variant; the rest has a default."""


def defaults_of(name: str) -> dict[str, bool]:
    """Whether a framework has a default for eps and for the momentum."""
    lacking = NO_DEFAULT.get(name.partition("+")[0], ())
    return {word: word not in lacking for word in ("eps", "momentum")}
