"""Registers and descriptors: what host and machine agree on."""
