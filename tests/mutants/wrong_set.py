"""Wrong in what becomes of options that are set after a layer was built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Gradients, Layer
from bnconform.tests.mutants.masks import Masked


@wrong("BN-SET-MOMENTUM")
class MomentumOfTheConstruction(Layer):
    """The momentum is that with which the layer was built."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.built = config.momentum

    def batch_weight(self) -> float:
        """By the momentum that was kept."""
        return 1 / self.batches if self.built is None else self.built


@wrong("BN-SET-MOMENTUM")
class MomentumReadAtTheFirstUpdate(Layer):
    """The momentum is that of the first update, as where a function is traced once."""

    weight: float | None = None

    def batch_weight(self) -> float:
        """By what the first update took."""
        self.weight = super().batch_weight() if self.weight is None else self.weight
        return self.weight


@wrong("BN-SET-MOMENTUM")
class MomentumNoneStartsToCount(Layer):
    """Set to None, the momentum counts batches from there on, and not those before."""

    before = 0

    def set(self, **options: Any) -> None:
        """Where the count stands then is kept."""
        super().set(**options)
        self.before = self.batches if self.tracked else 0

    def batch_weight(self) -> float:
        """By the batches since."""
        return 1 / (self.batches - self.before) if self.config.momentum is None else self.config.momentum


@wrong("BN-SET-TRACKING")
class MasksMoveWhatIsNotTracked(Masked):
    """Passes with a mask move the running statistics also after tracking was switched off."""

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """As if it were on."""
        switched, self.frozen = self.frozen, False
        y = super().masked(x, mask, training=training)
        self.frozen = switched
        return y


class _MasksKeepAnOption(Masked):
    """A layer whose passes with a mask have one option as the layer was built with it."""

    kept_option = ""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.built = config

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """By the option that was kept."""
        given: dict[str, Any] = {self.kept_option: getattr(self.built, self.kept_option)}
        now, self.config = self.config, replace(self.config, **given)
        y = super().masked(x, mask, training=training)
        self.config = now
        return y


@wrong("BN-SET-MOMENTUM")
class MasksHaveTheMomentumOfTheConstruction(_MasksKeepAnOption):
    """The momentum of passes with a mask is that with which the layer was built."""

    kept_option = "momentum"


@wrong("BN-SET-EPS")
class MasksHaveTheEpsilonOfTheConstruction(_MasksKeepAnOption):
    """Epsilon of passes with a mask is that with which the layer was built."""

    kept_option = "eps"


@wrong("BN-SET-MOMENTUM")
class SettingMakesTheStatisticsNew(Layer):
    """Setting an option makes the running statistics as when new."""

    def set(self, **options: Any) -> None:
        """As if the layer was built again."""
        super().set(**options)
        self.reset()


@wrong("BN-SET-EPS")
class EpsilonOfTheConstruction(Layer):
    """Setting eps does nothing."""

    def set(self, **options: Any) -> None:
        """All but eps."""
        options.pop("eps", None)
        super().set(**options)


@wrong("BN-SET-EPS")
class EpsilonSetForTrainingAlone(Layer):
    """Evaluation goes on with the eps with which the layer was built."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.built = config.eps

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """By one eps in each mode."""
        now = self.config
        self.config = now if training else replace(now, eps=self.built)
        found = super().inverse_std(variance, training)
        self.config = now
        return found


@wrong("BN-SET-TRACKING")
class FrozenStatisticsMove(Layer):
    """Switching tracking off does nothing."""

    def set(self, **options: Any) -> None:
        """All but tracking."""
        options.pop("track_running_stats", None)
        super().set(**options)


@wrong("BN-SET-TRACKING")
class FrozenLayerEvaluatesByTheBatch(Layer):
    """With tracking switched off evaluation is by the batch's statistics."""

    def from_batch(self, training: bool) -> bool:
        """Without tracking in both modes."""
        return super().from_batch(training) or self.frozen


@wrong("BN-SET-TRACKING")
class FrozenLayerTrainsByTheStatistics(Layer):
    """With tracking switched off training normalises by the running statistics, too."""

    def from_batch(self, training: bool) -> bool:
        """Only where tracking is on."""
        return super().from_batch(training) and not (self.frozen and self.tracked)


@wrong("BN-SET-TRACKING")
class FrozenCounterGoesOn(Layer):
    """With tracking switched off batches are counted all the same."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y, and one batch more."""
        y = super().forward(x, training=training)
        if training and self.frozen and self.tracked:
            self.count()
        return y


@wrong("BN-SET-TRACKING")
class ThawedStatisticsStartAnew(Layer):
    """Tracking that is switched on again starts from new statistics."""

    def set(self, **options: Any) -> None:
        """New ones where it is switched on."""
        super().set(**options)
        if options.get("track_running_stats"):
            self.reset()


@wrong("BN-SET-MOMENTUM")
class SetMomentumOfZeroIsNoMomentum(Layer):
    """A momentum that is set is taken where it is true, and 0 is false."""

    def set(self, **options: Any) -> None:
        """Without what is false."""
        super().set(**{name: value for name, value in options.items() if name != "momentum" or value != 0})


@wrong("BN-SET-MOMENTUM")
class MomentumNoneIsForGood(Layer):
    """A layer that was built with momentum None goes on averaging whatever is set."""

    def set(self, **options: Any) -> None:
        """Without the momentum, once there is none."""
        kept = self.config.momentum is None
        super().set(**{name: value for name, value in options.items() if name != "momentum" or not kept})


@wrong("BN-SET-EPS")
class FoldIsKeptOverASetEpsilon(Layer):
    """Evaluation is folded once, and again after a load or a training pass, but not after a set epsilon."""

    folded: float | None = None

    def forward(self, x: Array, *, training: bool) -> Array:
        """By the epsilon of the fold, in evaluation."""
        if training:
            self.folded = None
            return super().forward(x, training=training)
        self.folded = self.config.eps if self.folded is None else self.folded
        now, self.config = self.config, replace(self.config, eps=self.folded)
        try:
            return super().forward(x, training=training)
        finally:
            self.config = now

    def load(self, state: Mapping[str, Array]) -> None:
        """And the fold is forgotten."""
        super().load(state)
        self.folded = None


@wrong("BN-SET-EPS")
class SetEpsilonOfZeroIsNoEpsilon(Layer):
    """An epsilon that is set is taken where it is true, and 0 is false."""

    def set(self, **options: Any) -> None:
        """Without what is false."""
        super().set(**{name: value for name, value in options.items() if name != "eps" or value != 0})


@wrong("BN-SET-EPS")
class RecordedPassesKeepTheirEpsilon(Layer):
    """The epsilon of recorded passes is that of the first of them, as where they are compiled once."""

    first: float | None = None

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """By the epsilon that was there first."""
        self.first = self.config.eps if self.first is None else self.first
        now, self.config = self.config, replace(self.config, eps=self.first)
        try:
            return super().vjp(x, training=training)
        finally:
            self.config = now


@wrong("BN-STATE-INSTANCES")
class OptionsOfEveryLayer(Layer):
    """An epsilon that is set on one layer is that of every layer that was built with the same options."""

    _epsilons: ClassVar[dict[Config, float]] = {}

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.built = config
        self._epsilons[config] = config.eps

    def set(self, **options: Any) -> None:
        """Kept for all of them."""
        super().set(**options)
        self._epsilons[self.built] = self.config.eps

    def forward(self, x: Array, *, training: bool) -> Array:
        """By what was set last, on whichever."""
        self.config = replace(self.config, eps=self._epsilons[self.built])
        return super().forward(x, training=training)
