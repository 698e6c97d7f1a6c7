"""Tests of what judges the training of the documents' network."""
