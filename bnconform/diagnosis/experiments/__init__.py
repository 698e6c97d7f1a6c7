"""A failing program run again with one thing changed at a time: what makes the failure go away is its circumstance."""
