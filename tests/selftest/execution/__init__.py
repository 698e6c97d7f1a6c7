"""Self-tests of `execution`."""
