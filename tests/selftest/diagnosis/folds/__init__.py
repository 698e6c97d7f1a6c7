"""Tests of wrong folds and of the search for them."""
