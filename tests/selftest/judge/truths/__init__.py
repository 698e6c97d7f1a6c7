"""Self-tests of `judge/truths`."""
