"""Self-tests of `results`."""
