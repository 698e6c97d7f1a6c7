"""The documents' network trained by many: the reference, its bound, and what explains a run that leaves it."""
