"""What turns descriptors and token ids into bursts, and results into memory."""
