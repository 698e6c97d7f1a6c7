"""Tests of the side that executes."""
