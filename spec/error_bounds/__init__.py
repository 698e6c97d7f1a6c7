"""How far a right implementation may lie from the oracle, derived element by element."""
