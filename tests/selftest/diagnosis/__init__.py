"""Self-tests of `diagnosis`."""
