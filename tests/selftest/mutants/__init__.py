"""Self-tests of the generated wrong implementations."""
