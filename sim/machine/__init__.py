"""The whole machine on a simulated bus: chains, faults, an encoder."""
