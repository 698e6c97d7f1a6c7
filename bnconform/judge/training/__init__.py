"""The documents' network trained by many: the reference trajectory, its bound, and what explains a run that leaves it."""
