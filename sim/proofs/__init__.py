"""Formal proofs and mutation testing."""
