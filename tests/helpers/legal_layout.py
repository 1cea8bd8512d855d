"""Legality of a layout, by a sweep over rows that knows nothing of the placer."""

import itertools

import numpy as np
import pytest

from dtqatten.synth.place.layout import Layout


def check_legal(layout: Layout) -> None:
    """Cells on sites and rows, inside, apart, and outside the halos; macros inside and apart."""
    plan, sizes, core = layout.plan, layout.sizes, layout.is_core
    low, high = layout.at, layout.at + sizes
    assert (low >= -1e-6).all()
    assert (high <= np.array([plan.width, plan.height]) + 1e-6).all()
    grid = low[core] / [plan.site, plan.row]
    assert grid == pytest.approx(np.rint(grid), abs=1e-4)
    rows: dict[int, list[tuple[float, float]]] = {}
    for cell in np.flatnonzero(core):
        rows.setdefault(round(low[cell, 1] / plan.row), []).append((low[cell, 0], high[cell, 0]))
    for row in rows.values():
        row.sort()
        for (_, right), (left, _) in itertools.pairwise(row):
            assert right <= left + 1e-6
    for macro in np.flatnonzero(~core):
        for other in range(len(low)):
            if other == macro:
                continue
            # From cells by the halo of the macro, from macros by both halos.
            away = plan.halo * (1 if core[other] else 2) - 1e-6
            apart = np.maximum(low[other] - high[macro], low[macro] - high[other])
            assert apart.max() >= away
    border = np.minimum(layout.ports, np.array([plan.width, plan.height]) - layout.ports)
    assert border.min(axis=1) == pytest.approx(0.0, abs=1e-6)
