"""Rotations and factors in a model's projections, where a proof shows that this is exact."""
