"""Legality of placements, by a sweep over rows that knows nothing of the placer."""

from pathlib import Path

import numpy as np
import pytest

from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.placer import arrange, place
from dtqatten.synth.tools import SynthError
from legal_layout import check_legal

EVERYTHING = ["global", "legal", "detailed"]


@pytest.mark.parametrize(("density", "aspect"), [(0.7, 1.0), (0.9, 0.4), (0.3, 3.0)])
def test_cells_are_legal(adders, tmp_path: Path, density: float, aspect: float) -> None:
    layout = adders.layout(tmp_path, density=density, aspect=aspect)
    ratio = layout.plan.height / layout.plan.width
    assert ratio == pytest.approx(aspect, rel=0.1)
    die = layout.plan.width * layout.plan.height
    assert layout.cell_area / die == pytest.approx(density, rel=0.06)
    arrange(layout, tmp_path, [])
    place(layout, tmp_path, EVERYTHING, effort=1)
    check_legal(layout)
    assert len({tuple(port) for port in layout.ports}) == len(layout.ports)
    # Spread over the die, not gathered: each half has about its share.
    middle = layout.at + layout.sizes / 2 > np.array([layout.plan.width, layout.plan.height]) / 2
    share = (layout.sizes.prod(axis=1)[:, None] * middle).sum(axis=0) / layout.cell_area
    assert (abs(share - 0.5) < 0.15).all()


def test_macros_keep_their_halos(stores, tmp_path: Path) -> None:
    layout = stores.layout(tmp_path)
    assert (~layout.is_core).sum() == 2
    # Two macros of 100 um2 each side by side in each, two halos apart.
    assert layout.macro_area == pytest.approx(400.0)
    arrange(layout, tmp_path, [])
    place(layout, tmp_path, EVERYTHING, effort=1)
    check_legal(layout)


def test_a_legal_placement_is_hardly_moved(adders, tmp_path: Path) -> None:
    layout = adders.layout(tmp_path)
    arrange(layout, tmp_path, [])
    place(layout, tmp_path, EVERYTHING, effort=1)
    before = layout.at.copy()
    place(layout, tmp_path, ["legal"])
    check_legal(layout)
    assert np.abs(layout.at - before).sum(axis=1).mean() < 2.0


def test_placing_is_better_than_chance(adders, tmp_path: Path) -> None:
    """Half perimeters of the nets, against the same places given to other cells."""

    def length(layout: Layout) -> float:
        points = layout.pin_points()
        nets = [pins for pins in layout.netlist.pins_of_nets() if len(pins) > 1]
        return sum(np.ptp(points[pins], axis=0).sum() for pins in nets)

    layout = adders.layout(tmp_path)
    arrange(layout, tmp_path, [])
    place(layout, tmp_path, EVERYTHING, effort=1)
    mixed = layout.copy()
    mixed.at = layout.at[np.random.default_rng(2).permutation(len(layout.at))]
    assert length(layout) < 0.6 * length(mixed)


def test_too_many_cells_are_refused(adders, tmp_path: Path) -> None:
    layout = adders.layout(tmp_path, density=0.95)
    layout.netlist.kinds = ["DFF" if kind == "INV" else kind for kind in layout.netlist.kinds]
    for _ in range(len(layout.netlist.kinds)):
        layout.netlist.add_cell("DFF", "more", [])
    layout.at = np.zeros((len(layout.netlist.kinds), 2))
    with pytest.raises(SynthError, match="of the rows: give a lower --density"):
        place(layout, tmp_path, ["legal"])


def test_movable_macros_take_their_room(stores, tmp_path: Path) -> None:
    """Their middles are as far apart as macros and halos need it, and macros fit around them."""
    layout = stores.layout(tmp_path)
    place(layout, tmp_path, ["global"], floating=True, effort=1)
    macros = ~layout.is_core
    low, size = layout.at[macros], layout.sizes[macros]
    middles = low + size / 2
    assert np.abs(middles[0] - middles[1]).max() > 0.5 * (size.mean(axis=0) + 2).min()
    assert (middles > 0).all()
    assert (middles < [layout.plan.width, layout.plan.height]).all()
