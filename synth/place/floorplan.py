"""Floorplan: the core's outline, macros near what they talk to, ports around it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from dtqatten.synth.tools import InputError

__all__ = ["Floorplan", "outline_of", "place_macros", "place_ports"]

#: A length below this is rounding, um.
GRID = 1e-6

#: A gap beside a macro narrower than so much of its shorter side is closed, in as many passes.
NARROW, SLIDES = 0.3, 3

#: Ports are at most so many times nearer to each other than if spread evenly over the border.
SPREAD = 2


@dataclass(frozen=True)
class Floorplan:
    """A core with its lower left corner in the origin, um.

    Attributes
    ----------
    width, height : float
        Whole sites, whole rows.
    row, site : float
    halo : float
        Around each macro, where no cell stands.
    """

    width: float
    height: float
    row: float
    site: float
    halo: float


def up(length: float, grid: float) -> float:
    """Round up to a grid."""
    return math.ceil(length / grid - GRID) * grid


def outline_of(
    cell_area: float,
    macros: Sequence[tuple[float, float]],
    *,
    density: float,
    aspect: float,
    halo: float,
    row: float,
    site: float,
) -> Floorplan:
    """Return a core for cells at a density, and for macros with their halos.

    Parameters
    ----------
    cell_area : float
        Of the cells in rows, um2.
    macros : sequence of (float, float)
        Widths and heights, um.
    density : float
        Of the cells in what macros and halos leave.
    aspect : float
        Height over width.
    halo, row, site : float
        See `Floorplan`.
    """
    area = cell_area / density + sum((w + 2 * halo) * (h + 2 * halo) for w, h in macros)
    tallest = max((h + 2 * halo for _, h in macros), default=0.0)
    widest = max((w + 2 * halo for w, _ in macros), default=0.0)
    height = up(max(math.sqrt(area * aspect), tallest, row), row)
    width = up(max(area / height, widest, site), site)
    return Floorplan(width, height, row, site, halo)


def place_macros(
    plan: Floorplan, macros: Mapping[int, tuple[float, float]], wish: NDArray[np.float64]
) -> dict[int, tuple[float, float]]:
    """Put each macro where there is room nearest to its wish, or all into columns.

    The largest go first. Then macros close gaps to others and to the border that are narrow to
    them: cells in these would be far from all others. Where one finds no room, all go into columns.

    Parameters
    ----------
    plan : Floorplan
    macros : mapping of int to (float, float)
        Width and height by cell.
    wish : array [cells, 2]
        Where the middle of each cell wants to be.

    Returns
    -------
    dict of int to (float, float)
        Lower left corner by cell.

    Raises
    ------
    InputError
        If they do not fit.
    """
    step = np.array([max(1, round(plan.row / plan.site)) * plan.site, plan.row])
    across, upward = (int(n) for n in np.array([plan.width, plan.height]) / step + GRID)
    taken = np.zeros((across, upward), dtype=np.int64)
    boxes: dict[int, tuple[int, int, int, int]] = {}
    for cell in sorted(macros, key=lambda cell: (-macros[cell][0] * macros[cell][1], cell)):
        size = np.array(macros[cell]) + 2 * plan.halo
        w, h = (int(n) for n in np.ceil(size / step - GRID))
        corner = nearest_room(taken, w, h, wish[cell] - size / 2, step)
        if corner is None:
            return in_columns(plan, macros, wish)
        boxes[cell] = (*corner, w, h)
        mark(taken, boxes[cell], 1)
    for _ in range(SLIDES):
        for cell, box in boxes.items():
            for axis in (0, 1):
                mark(taken, box, 0)
                box = boxes[cell] = slid(taken, box, axis)
                mark(taken, box, 1)
    return {
        cell: (x * float(step[0]) + plan.halo, y * float(step[1]) + plan.halo)
        for cell, (x, y, _, _) in boxes.items()
    }


def mark(taken: NDArray[np.int64], box: tuple[int, int, int, int], value: int) -> None:
    """Take or free a box: left, bottom, width and height in steps."""
    x, y, w, h = box
    taken[x : x + w, y : y + h] = value


def slid(
    taken: NDArray[np.int64], box: tuple[int, int, int, int], axis: int
) -> tuple[int, int, int, int]:
    """Return a box moved along an axis to what it leaves a narrow gap to."""
    x, y, w, h = box
    # Where something stands beside the box, along the axis; the border at both ends.
    lane = taken[:, y : y + h].any(axis=1) if axis == 0 else taken[x : x + w].any(axis=0)
    first, size = box[axis], box[axis + 2]
    stands = np.flatnonzero(np.concatenate([[True], lane, [True]])) - 1
    before = first - 1 - int(stands[stands < first].max())
    after = int(stands[stands >= first + size].min()) - first - size
    gaps = (before, -before), (after, after)
    # Outward, or inward where the gap outward is wide.
    outward, inward = gaps if 2 * first + size < taken.shape[axis] else gaps[::-1]
    narrow = NARROW * min(w, h)
    if 0 < outward[0] < narrow:
        move = outward[1]
    elif outward[0] and 0 < inward[0] < narrow:
        move = inward[1]
    else:
        return box
    return (x + move, y, w, h) if axis == 0 else (x, y + move, w, h)


def nearest_room(
    taken: NDArray[np.int64], w: int, h: int, wish: NDArray[np.float64], step: NDArray[np.float64]
) -> tuple[int, int] | None:
    """Return the free corner of ``w`` times ``h`` steps that is nearest to a wish, in um."""
    if w > taken.shape[0] or h > taken.shape[1]:
        return None
    sums = np.zeros((taken.shape[0] + 1, taken.shape[1] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(taken, axis=0), axis=1, out=sums[1:, 1:])
    inside = sums[w:, h:] - sums[:-w, h:] - sums[w:, :-h] + sums[:-w, :-h]
    away = (
        np.abs(np.arange(inside.shape[0]) * step[0] - wish[0])[:, None]
        + np.abs(np.arange(inside.shape[1]) * step[1] - wish[1])[None, :]
    )
    away[inside > 0] = np.inf
    best = int(np.argmin(away))
    x, y = divmod(best, inside.shape[1])
    return (x, y) if np.isfinite(away[x, y]) else None


def in_columns(
    plan: Floorplan, macros: Mapping[int, tuple[float, float]], wish: NDArray[np.float64]
) -> dict[int, tuple[float, float]]:
    """Stack macros in columns from the left and the right side inward.

    Those that want to be in the left half, by area, go left; the widest first form columns, and
    in a column each has the order of its wish. Where two sides are too wide, all go left.
    """
    space = 2 * plan.halo
    area = {cell: (w + space) * (h + space) for cell, (w, h) in macros.items()}
    right = sorted(macros, key=lambda cell: (wish[cell, 0], cell))
    left: list[int] = []
    half = sum(area.values()) / 2
    while right and sum(area[cell] for cell in (*left, right[0])) <= half:
        left.append(right.pop(0))
    used, places = stacked(plan, macros, (left, right), wish)
    if used > plan.width + GRID:  # too few to be shared out
        used, places = stacked(plan, macros, (left + right, []), wish)
    if used > plan.width + GRID:
        raise InputError(
            f"macros take {used:.0f} um of a core {plan.width:.0f} um wide: give another --aspect "
            "or a lower --density"
        )
    return places


def stacked(
    plan: Floorplan,
    macros: Mapping[int, tuple[float, float]],
    sides: tuple[list[int], list[int]],
    wish: NDArray[np.float64],
) -> tuple[float, dict[int, tuple[float, float]]]:
    """Return how much of the width columns on both sides take, and the macros' corners."""
    space = 2 * plan.halo
    places: dict[int, tuple[float, float]] = {}
    used = 0.0
    for side, cells in enumerate(sides):
        edge = 0.0
        for column in columns(plan, macros, cells):
            column.sort(key=lambda cell: (wish[cell, 1], cell))
            heights = [up(macros[cell][1] + space, plan.row) for cell in column]
            free = plan.height - sum(heights)
            gap = math.floor(free / max(len(column) - 1, 1) / plan.row + GRID) * plan.row
            y = 0.0
            for cell, height in zip(column, heights, strict=True):
                wide = up(macros[cell][0] + space, plan.site)
                x = edge if side == 0 else plan.width - edge - wide
                places[cell] = (x + plan.halo, y + plan.halo)
                y += height + gap
            edge += up(max(macros[cell][0] for cell in column) + space, plan.site)
        used += edge
    return used, places


def columns(
    plan: Floorplan, macros: Mapping[int, tuple[float, float]], cells: Sequence[int]
) -> list[list[int]]:
    """Fill columns, the widest macros first, each where there is room below the core's height."""
    found: list[tuple[float, list[int]]] = []
    for cell in sorted(cells, key=lambda cell: (-macros[cell][0], -macros[cell][1], cell)):
        height = up(macros[cell][1] + 2 * plan.halo, plan.row)
        for number, (taken, column) in enumerate(found):
            if taken + height <= plan.height + GRID:
                column.append(cell)
                found[number] = (taken + height, column)
                break
        else:
            found.append((height, [cell]))
    return [column for _, column in found]


def place_ports(plan: Floorplan, wish: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put ports on the border near their wishes, at least half as far apart as if spread evenly.

    Parameters
    ----------
    plan : Floorplan
    wish : array [ports, 2]
        Where each wants to be.

    Returns
    -------
    array [ports, 2]
        On the border.
    """
    if not len(wish):
        return np.zeros((0, 2))
    w, h = plan.width, plan.height
    around = 2 * (w + h)
    # Along the border, from the lower left corner, counterclockwise.
    x, y = np.clip(wish[:, 0], 0, w), np.clip(wish[:, 1], 0, h)
    side = np.argmin(np.stack([y, w - x, h - y, x]), axis=0)
    along = np.choose(side, [x, w + y, 2 * w + h - x, around - y])
    # Cut open where no port wants to be.
    gaps = np.diff(np.sort(along), append=along.min() + around)
    cut = float((np.sort(along) + gaps / 2)[np.argmax(gaps)])
    along = (along - cut) % around
    order = np.lexsort((np.arange(len(wish)), along))
    pitch = around / len(wish) / SPREAD
    offset = np.arange(len(wish)) * pitch
    # The least squares' places that keep their order and their pitch.
    spread = isotonic_regression(along[order] - offset).x
    at = (np.clip(spread, 0, around - len(wish) * pitch) + offset + cut) % around
    places = np.empty((len(wish), 2))
    for port, s in zip(order, at.tolist(), strict=True):
        if s < w:
            places[port] = s, 0
        elif s < w + h:
            places[port] = w, s - w
        elif s < 2 * w + h:
            places[port] = 2 * w + h - s, h
        else:
            places[port] = 0, around - s
    return places
