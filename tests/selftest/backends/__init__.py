"""Self-tests of `backends`."""
