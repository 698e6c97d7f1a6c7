"""Self-tests of `cli`."""
