"""Both systolic arrays: PEs, the edges that feed them, the sequencers that drive them."""
