"""Free sites of rows, against a search through all of them."""

import numpy as np
import pytest

from dtqatten.synth.place.floorplan import Floorplan
from dtqatten.synth.place.sites import Sites
from dtqatten.synth.tools import SynthError

PLAN = Floorplan(20.0, 12.0, 2.0, 0.5, 0.0)


def nearest(free: np.ndarray, at: tuple[float, float], width: float) -> float:
    """Return the least distance of a place, from a map of all sites."""
    sites = round(width / PLAN.site)
    return min(
        abs(first * PLAN.site - at[0]) + abs(row * PLAN.row - at[1])
        for row in range(free.shape[0])
        for first in range(free.shape[1] - sites + 1)
        if free[row, first : first + sites].all()
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_nearest_free_place_is_taken(seed: int) -> None:
    """Some places are given back on the way."""
    rng = np.random.default_rng(seed)
    macro = (6.0, 4.0, 5.0, 4.0)
    sites, free = Sites(PLAN, [macro]), np.ones((6, 40), bool)
    free[2:4, 12:22] = False
    held: list[tuple[tuple[float, float], float]] = []
    while free.sum() > 60:
        if held and rng.random() < 0.2:
            (x, y), width = held.pop(int(rng.integers(len(held))))
            sites.free((x, y), width)
            free[round(y / 2), round(x * 2) : round((x + width) * 2)] = True
        at = (float(rng.uniform(-1, 21)), float(rng.uniform(-1, 13)))
        width = float(rng.integers(1, 5)) / 2
        least = nearest(free, at, width)
        x, y = sites.take(at, width)
        assert abs(x - at[0]) + abs(y - at[1]) == pytest.approx(least, abs=PLAN.site)
        place = free[round(y / 2), round(x * 2) : round((x + width) * 2)]
        assert place.all()
        place[:] = False
        held.append(((x, y), width))
        assert sites.flipped(y) == (round(y / 2) % 2 == 1)


def test_no_room_is_an_error() -> None:
    sites = Sites(PLAN, [(0.0, 0.0, 20.0, 11.0)])
    with pytest.raises(SynthError, match=r"no room for a cell of 2 um"):
        sites.take((3.0, 3.0), 2.0)
