"""Wrong implementations, each wrong in one way, and right ones by other means: what the suite must tell apart."""
