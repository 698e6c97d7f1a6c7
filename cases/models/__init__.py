"""Small trained networks with BatchNorm in them, for the tools that deploy models: a covering array, and its models."""
