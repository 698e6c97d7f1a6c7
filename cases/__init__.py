"""Inputs: golden cases from the documents, probes that tell behaviours apart, strategies, ill-conditioned families."""
