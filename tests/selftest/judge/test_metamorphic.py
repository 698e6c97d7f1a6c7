"""What two runs may differ by: the bound of both, also where one of them admits everything."""

from __future__ import annotations

import numpy as np

from bnconform.cases.metamorphic import MetamorphicRelation
from bnconform.cases.probes import all_relations
from bnconform.execution.sessions import InProcess
from bnconform.judge.metamorphic import relate
from bnconform.spec.behaviour import SPECIFIED
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Array, Layer

[RELATION] = [one for one in all_relations()["BN-EVAL-ROW"] if isinstance(one, MetamorphicRelation)][:1]


class ShowsInfinity(Layer):
    """The running variance is shown as infinite, from which a bound of infinity follows."""

    def state(self) -> dict[str, Array | None]:
        shown = super().state()
        shown["running_var"] = np.full_like(shown["running_var"], np.inf)
        return shown


class ShowsNaN(Layer):
    """The running variance is shown as NaN."""

    def state(self) -> dict[str, Array | None]:
        shown = super().state()
        shown["running_var"] = np.full_like(shown["running_var"], np.nan)
        return shown


def test_a_bound_that_admits_everything_is_infinite_and_a_number() -> None:
    """An infinite bound of one run is one of both; NaN would hold, or not, by how a comparison is written."""
    for layer in (Layer, ShowsInfinity, ShowsNaN):
        session = InProcess(Mutant("layer", "shown otherwise", layer), "cpu")
        traces = [session.run(program) for program in RELATION.at("float32", "float32")]
        found = relate(RELATION, traces, SPECIFIED)
        assert found.comparisons
        assert not any(np.isnan(one.bound).any() for one in found.comparisons), layer
