"""The side that executes: it builds layers, makes the calls of programs on them, and returns what each call showed.

It knows programs and arrays and nothing of what is right. It imports the standard library, NumPy and ml_dtypes, so that
it runs in the environment of any implementation; `serve` speaks with the side that judges, `record` with a file.
"""
