"""When things happen: a cycle model for each block."""
