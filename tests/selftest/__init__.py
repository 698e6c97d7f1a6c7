"""That the suite is right, and can fail."""
