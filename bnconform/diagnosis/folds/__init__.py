"""Wrong folds: a family of ways to merge a BatchNorm wrongly, and the search for the one that a tool's answer shows."""
