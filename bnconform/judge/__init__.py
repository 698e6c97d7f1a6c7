"""The judgement: checks, verdicts, truths, and the conformance tests as plain functions; no terminal and no file.

The package can be called, as `bnconform.judge(backend, ...)`: that runs the suite, see `bnconform.api.judge`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import inspect

    from bnconform.results.result import Result


class _Judge(ModuleType):
    """The package as the public function `bnconform.judge`, which it is too."""

    def __call__(self, *given: Any, **named: Any) -> Result:
        """Run the suite on one backend: `bnconform.api.judge`, whose arguments these are."""
        from bnconform.api import judge

        return judge(*given, **named)

    @property
    def __signature__(self) -> inspect.Signature:
        import inspect

        from bnconform.api import judge

        return inspect.signature(judge)


sys.modules[__name__].__class__ = _Judge
