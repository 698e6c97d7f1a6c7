"""Self-tests of `diagnosis/relations`."""
