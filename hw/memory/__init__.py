"""From descriptors and token ids to bursts, and from results to memory."""
