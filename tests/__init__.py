"""Tests and nothing else: the suite that is run against a backend, wrong and right implementations, self-tests."""
