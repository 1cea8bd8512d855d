"""Host driver: builds memory images and descriptors, runs chains, returns arrays."""
