"""Self-tests of `spec`."""
