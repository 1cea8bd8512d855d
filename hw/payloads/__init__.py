"""Layouts and sizes that blocks share, so that equal widths mean equal things."""
