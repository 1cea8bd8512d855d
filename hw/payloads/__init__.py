"""Layouts and sizes that blocks share."""
