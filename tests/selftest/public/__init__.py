"""The self-tests of the public API: what `bnconform.__all__` names."""
