"""What is said to a person in one line, with exit status 2: the errors that end a command without a traceback."""

from __future__ import annotations

from bnconform.backends.registry import BackendError
from bnconform.spec.errors import UserError

USER_ERRORS = (UserError, BackendError)
"""What the command catches, in one place. An adapter's room imports nothing of ours, so its error stands beside."""

__all__ = ["USER_ERRORS", "UserError"]
