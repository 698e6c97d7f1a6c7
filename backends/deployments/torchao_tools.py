"""torchao: the preparation of a model for quantization, in which it folds BatchNorms, with nothing quantized."""

from __future__ import annotations

from typing import Any

from bnconform.backends.deployments.torch_export import export
from bnconform.backends.deployments.torch_models import TorchDeployment, predictor, quietly


class AoPt2e(TorchDeployment):
    """torchao.quantization.pt2e.prepare_pt2e of the exported model, with a quantizer that asks for nothing."""

    name = "torchao.prepare_pt2e"
    slow_to_start = True

    def deploy(self, original: Any, example: Any) -> Any:
        """The prepared model, which has no observers."""
        from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e
        from torchao.quantization.pt2e.quantizer import Quantizer

        class Nothing(Quantizer):
            """Annotates no node."""

            def annotate(self, model: Any) -> Any:
                """As it is."""
                return model

            def validate(self, model: Any) -> None:
                """Whatever it is."""

        module = export(original, example).module()
        return predictor(quietly(lambda: prepare_pt2e(module, Nothing())))
