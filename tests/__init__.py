"""The suite itself (conformance), what shows that it is right (selftest), what both run on (harness), and its faces."""
