"""Running implementations: which ones, in which processes, and what each call showed."""
