"""Implementations outside Python: a program that speaks JSON lines, and the adapter through which it is judged."""
