"""Recorded Q, K and V of a real layer."""
