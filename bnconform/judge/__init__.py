"""The judgement: checks, verdicts, truths, and the conformance tests as plain functions; no terminal and no file."""
