"""The conformance suite: one module a chapter of the requirement catalogue."""
