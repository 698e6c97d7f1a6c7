"""torch.utils.mkldnn: a model whose layers hold their weights as oneDNN wants them, and compute by it."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from bnconform.backends.deployments.torch_models import TorchDeployment
from bnconform.backends.torch_tensors import Array, to_array, to_tensor


class TorchMkldnn(TorchDeployment):
    """torch.utils.mkldnn.to_mkldnn, of a copy, as it puts the new layers into the model that it is given."""

    name = "torch.utils.mkldnn"
    unsupported: ClassVar[dict[str, str]] = {
        "float64": "to_mkldnn takes torch.float, torch.bfloat16 and torch.half",
        "float16": "asked in the dtype that its layers are made for by default",
        "bfloat16": "asked in the dtype that its layers are made for by default",
    }

    def deploy(self, original: Any, example: Array) -> Any:
        """The converted model, which takes tensors of oneDNN's, and gives them."""
        import torch
        from torch.utils import mkldnn

        if str(example.dtype) in self.unsupported:
            raise NotImplementedError("asked in single precision alone")
        made = mkldnn.to_mkldnn(copy.deepcopy(original))

        def predict(x: Array) -> Array:
            with torch.no_grad():
                found = made(to_tensor(x, "cpu").to_mkldnn())
                return to_array(found.to_dense() if found.layout == torch._mkldnn else found)

        return predict
