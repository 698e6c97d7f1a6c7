"""PyTorch's fusers: what merges a BatchNorm into the layer before it, by rewriting a model or as it is told to."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnconform.backends.deployments.torch_models import LayersPredictor, TorchDeployment, pairs, quietly, trace_pairs

if TYPE_CHECKING:
    from bnconform.backends.runner.deployments import ModelData


@dataclass
class Listed:
    """A module, and what of it its user lists to be fused."""

    module: Any
    pairs: list[tuple[str, str, str]]


class Told(TorchDeployment):
    """A fuser that is told what follows what."""

    def load(self, model: ModelData, device: str) -> Any:
        """The module and the list."""
        return Listed(super().load(model, device), pairs(model))

    def own(self, model: Any) -> Any:
        """The module and the list, by its graph."""
        return Listed(model, trace_pairs(model))

    def parameters(self, original: Any) -> Any:
        """Those of the module."""
        return super().parameters(original.module)


class FxFuse(TorchDeployment):
    """torch.fx.experimental.optimization.fuse: convolutions and linear layers with the BatchNorm after them."""

    name = "torch.fx.fuse"

    def deploy(self, original: Any, example: Any) -> Any:
        """The model that it returns."""
        from torch.fx.experimental.optimization import fuse

        return LayersPredictor(fuse(original))


class AoFuseFx(TorchDeployment):
    """torch.ao.quantization.quantize_fx.fuse_fx: the first step of quantization in graph mode."""

    name = "torch.ao.fuse_fx"

    def deploy(self, original: Any, example: Any) -> Any:
        """The model that it returns; it is given a copy, as its documentation has no promise about its argument."""
        from torch.ao.quantization.quantize_fx import fuse_fx

        return LayersPredictor(quietly(lambda: fuse_fx(copy.deepcopy(original))))


class AoFuseModules(Told):
    """torch.ao.quantization.fuse_modules: the modules that are listed; it knows no linear layers with BatchNorm."""

    name = "torch.ao.fuse_modules"

    def deploy(self, original: Any, example: Any) -> Any:
        """The copy that it returns; the model itself where there is nothing to list."""
        from torch.ao.quantization import fuse_modules

        listed = [[name for name in names if name] for names in original.pairs]
        if not listed:
            raise NotImplementedError("the model has no sequence of modules that could be listed")
        return LayersPredictor(quietly(lambda: fuse_modules(original.module, listed)))


class TorchFusion(Told):
    """torch.nn.utils.fusion: fuse_conv_bn_eval and fuse_linear_bn_eval for two modules that follow one another."""

    name = "torch.nn.utils.fusion"

    def deploy(self, original: Any, example: Any) -> Any:
        """A copy of the model in which each pair's layer is the fused one and its BatchNorm passes on what it reads."""
        import torch
        from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

        if not original.pairs:
            raise NotImplementedError("the model has no two modules that could be fused")
        made = copy.deepcopy(original.module)
        for layer, norm, _ in original.pairs:
            first, second = made.get_submodule(layer), made.get_submodule(norm)
            if isinstance(first, torch.nn.Linear):
                fused = fuse_linear_bn_eval(first, second)
            else:
                transposed = type(first).__name__.startswith("ConvTranspose")
                fused = fuse_conv_bn_eval(first, second, transpose=transposed)
            made.set_submodule(layer, fused)
            made.set_submodule(norm, torch.nn.Identity())
        return LayersPredictor(made)
