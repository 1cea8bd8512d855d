"""Importance of tokens, the top-k engine, and the ids of those that are kept."""
