"""Self-tests of `render`."""
