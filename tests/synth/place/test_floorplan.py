"""Places of macros and ports, each against a check of its own."""

from itertools import combinations

import numpy as np
import pytest

from dtqatten.synth.place.floorplan import Floorplan, place_macros, place_ports
from dtqatten.synth.tools import InputError

PLAN = Floorplan(400.0, 300.0, row=1.4, site=0.2, halo=2.0)


def check_apart(
    plan: Floorplan,
    macros: dict[int, tuple[float, float]],
    places: dict[int, tuple[float, float]],
) -> None:
    """All inside with their halos, on rows, and no two halos overlap."""
    boxes = []
    for cell, (w, h) in macros.items():
        x, y = places[cell]
        boxes.append((x - plan.halo, y - plan.halo, x + w + plan.halo, y + h + plan.halo))
        assert (y - plan.halo) / plan.row == pytest.approx(round((y - plan.halo) / plan.row))
    for left, bottom, right, top in boxes:
        assert left >= -1e-6
        assert bottom >= -1e-6
        assert right <= plan.width + 1e-6
        assert top <= plan.height + 1e-6
    for a, b in combinations(boxes, 2):
        assert (
            a[0] >= b[2] - 1e-6 or b[0] >= a[2] - 1e-6 or a[1] >= b[3] - 1e-6 or b[1] >= a[3] - 1e-6
        )


@pytest.mark.parametrize("seed", range(6))
def test_macros_do_not_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 30))
    macros = {i: tuple(rng.uniform(5, 60, 2).tolist()) for i in range(count)}
    wish = rng.uniform(0, 400, (count, 2))
    check_apart(PLAN, macros, place_macros(PLAN, macros, wish))


def test_a_macro_stands_where_it_wants_to_and_others_beside_it() -> None:
    macros = {0: (50.0, 40.0), 1: (30.0, 40.0), 2: (30.0, 30.0)}
    wish = np.array([[200.0, 150.0]] * 3)
    places = place_macros(PLAN, macros, wish)
    check_apart(PLAN, macros, places)
    away = [
        float(np.abs(np.array(places[i]) + np.array(macros[i]) / 2 - wish[i]).sum()) for i in macros
    ]
    assert away[0] <= 1.4  # half a step each way
    # Halos of the first and of another one touch, within a step each way.
    assert away[1] <= (50 + 30) / 2 + 4 + 2 * 1.4 + 1.4
    assert away[2] <= (40 + 30) / 2 + 4 + 2 * 1.4 + 1.4


def test_narrow_gaps_are_closed() -> None:
    """To the border, and to another macro; wide ones stay."""
    macros = {0: (100.0, 60.0), 1: (60.0, 60.0)}
    # 12 um beside the first, which is fewer than 0.3 times 64, and 28 below it.
    places = place_macros(PLAN, macros, np.array([[64.0, 60.0], [300.0, 150.0]]))
    assert places[0][0] == pytest.approx(2.0)
    assert places[0][1] == pytest.approx(30.0, abs=1.4)
    # 11 um between the halos of both.
    places = place_macros(PLAN, macros, np.array([[150.0, 150.0], [245.0, 150.0]]))
    check_apart(PLAN, macros, places)
    gap = places[1][0] - places[0][0] - 100 - 4
    assert -1e-6 <= gap < 1.4


def test_macros_that_find_no_room_go_into_columns() -> None:
    """The first, in the middle, leaves no room for the second one; side by side they fit."""
    macros = {0: (190.0, 290.0), 1: (190.0, 290.0)}
    places = place_macros(PLAN, macros, np.array([[200.0, 150.0]] * 2))
    check_apart(PLAN, macros, places)
    assert sorted(x for x, _ in places.values()) == pytest.approx([2.0, 208.0])


def test_macros_too_wide_are_refused() -> None:
    macros = dict.fromkeys(range(3), (190.0, 290.0))
    with pytest.raises(InputError, match="give another --aspect"):
        place_macros(PLAN, macros, np.zeros((3, 2)))


@pytest.mark.parametrize("count", [1, 2, 50, 700])
def test_ports_are_apart_on_the_border(count: int) -> None:
    wish = np.random.default_rng(count).normal(150, 30, (count, 2))
    at = place_ports(PLAN, wish)
    on = np.isclose(at, 0) | np.isclose(at, [PLAN.width, PLAN.height])
    assert on.any(axis=1).all()
    assert (at >= 0).all()
    assert (at <= [PLAN.width, PLAN.height]).all()
    # Half of an even spread's distance along the border, so around a corner at least half of that.
    pitch = 2 * (PLAN.width + PLAN.height) / count / 2
    apart = [np.abs(a - b).sum() for a, b in combinations(at, 2)]
    assert min(apart, default=pitch) >= pitch - 1e-6


def test_a_port_stands_on_the_nearest_border() -> None:
    wish = np.array([[200.0, 10.0], [390.0, 150.0], [100.0, 295.0], [5.0, 100.0], [999.0, 20.0]])
    best = [[200.0, 0.0], [400.0, 150.0], [100.0, 300.0], [0.0, 100.0], [400.0, 20.0]]
    assert place_ports(PLAN, wish)[[0, 2, 3]].tolist() == [best[i] for i in (0, 2, 3)]
    # These two want to be 130 um apart, and have to be 140: each gives way by five.
    assert place_ports(PLAN, wish)[[1, 4]].tolist() == [[400.0, 155.0], [400.0, 15.0]]
    assert place_ports(PLAN, np.zeros((0, 2))).shape == (0, 2)
