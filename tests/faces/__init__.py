"""What a person sees: the terminal's renderings of the catalogue, the backends and a run."""
