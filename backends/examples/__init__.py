"""Examples of adapters, which backends/README.md walks through; none of them is a backend of this package."""
