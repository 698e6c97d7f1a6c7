"""The one error that is said to a person in one line; below every room, so that each may raise it."""

from __future__ import annotations


class UserError(ValueError):
    """A request that cannot be carried out; the text is one line that says what is wrong and what to do.

    Whoever reads it gave the request, so it is shown without a traceback. The command turns it into exit status 2.
    """
