"""Results as data: the result file, baselines, comparisons, kept observations; no text for people."""
