"""What the conformance tests run on: guarded layers, execution, judgement, diagnosis, verdicts, messages."""
