"""Self-tests of the project as a whole: its layout, README, recipes, and that the suite can fail."""
