"""Self-tests of `cases`."""
