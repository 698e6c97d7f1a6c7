"""Plugins of pytest, each of which takes one part of the machinery away: the self-tests about that part must fail."""
