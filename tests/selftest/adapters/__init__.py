"""Adapters for the self-tests, given to the command by --backend FILE.py:CLASS."""
