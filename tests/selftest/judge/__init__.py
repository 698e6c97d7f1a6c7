"""Self-tests of `judge`."""
