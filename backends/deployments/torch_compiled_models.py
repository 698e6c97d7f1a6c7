"""torch.compile of a model: as it is, and with Inductor's freezing, which makes constants of parameters and folds them.

Each model is compiled anew, as a cache might answer for it; falling back to uncompiled code is an error, no warning.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from bnconform.backends.deployments.torch_export import export
from bnconform.backends.deployments.torch_models import TorchDeployment, predictor


class TorchCompile(TorchDeployment):
    """torch.compile, by Inductor."""

    name = "torch.compile"
    settings: ClassVar[dict[str, bool]] = {}
    slow_to_start = True

    def deploy(self, original: Any, example: Any) -> Any:
        """The compiled model, of a copy, whose statistics it would share; its first call compiles it."""
        import torch
        import torch._inductor.config

        torch._dynamo.reset()
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        compiled = predictor(torch.compile(copy.deepcopy(original)))

        def predict(x: Any) -> Any:
            with torch._inductor.config.patch(**self.settings):
                return compiled(x)

        return predict


class TorchCompileFreezing(TorchCompile):
    """The same with torch._inductor.config.freezing."""

    name = "torch.compile+freezing"
    settings: ClassVar[dict[str, bool]] = {"freezing": True}


class TorchCompileConvBn(TorchCompile):
    """The same with torch._inductor.config.efficient_conv_bn_eval_fx_passes, which merges a BatchNorm in evaluation."""

    name = "torch.compile+efficient_conv_bn_eval"
    settings: ClassVar[dict[str, bool]] = {"efficient_conv_bn_eval_fx_passes": True}


class AotInductor(TorchDeployment):
    """torch._inductor.aoti_compile_and_package of the exported program, and what aoti_load_package loads."""

    name = "torch.aotinductor"
    takes_long = True

    def deploy(self, original: Any, example: Any) -> Any:
        """The loaded package."""
        import torch._inductor

        with tempfile.TemporaryDirectory(prefix="bnconform-") as folder:
            place = str(Path(folder) / "model.pt2")
            torch._inductor.aoti_compile_and_package(export(original, example), package_path=place)
            return predictor(torch._inductor.aoti_load_package(place))


class AotInductorFreezing(AotInductor):
    """The same with torch._inductor.config.freezing."""

    name = "torch.aotinductor+freezing"

    def deploy(self, original: Any, example: Any) -> Any:
        """The package, compiled with it."""
        import torch._inductor.config

        with torch._inductor.config.patch(freezing=True):
            return super().deploy(original, example)
