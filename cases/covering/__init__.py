"""Covering arrays: inputs that hold every pair of circumstances, instead of those that somebody thought of."""
