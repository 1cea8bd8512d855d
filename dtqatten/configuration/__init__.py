"""Sizes and options that everything is built from."""
