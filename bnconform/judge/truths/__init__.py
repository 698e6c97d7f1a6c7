"""What is due at a call: its arrays, where they are computed, and where they are kept."""
