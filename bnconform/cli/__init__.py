"""The command `bnconform`, a module a verb."""
