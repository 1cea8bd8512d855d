"""Free places in rows, for cells that have to stand near a point."""

import bisect
import math
from collections.abc import Sequence

from dtqatten.synth.place.floorplan import Floorplan
from dtqatten.synth.tools import SynthError

__all__ = ["Sites"]

#: A length below this is rounding, in sites.
GRID = 1e-6


class Sites:
    """Sites of all rows, some taken.

    Parameters
    ----------
    plan : Floorplan
    blocked : sequence of (float, float, float, float)
        Rectangles without a site: left, bottom, width, height, um.
    """

    def __init__(
        self, plan: Floorplan, blocked: Sequence[tuple[float, float, float, float]]
    ) -> None:
        self._plan = plan
        sites = round(plan.width / plan.site)
        #: Of each row: first sites and ends of what is free, in order.
        self._free: list[list[tuple[int, int]]] = [
            [(0, sites)] for _ in range(round(plan.height / plan.row))
        ]
        for x, y, width, height in blocked:
            first = max(0, math.floor(x / plan.site + GRID))
            end = min(sites, math.ceil((x + width) / plan.site - GRID))
            bottom = max(0, math.floor(y / plan.row + GRID))
            for row in range(
                bottom, min(len(self._free), math.ceil((y + height) / plan.row - GRID))
            ):
                self._take(row, first, end)

    def take(self, at: tuple[float, float], width: float) -> tuple[float, float]:
        """Take the place nearest to a lower left corner, by the sum of both distances; return it.

        Raises
        ------
        SynthError
            If no row has room.
        """
        plan = self._plan
        sites = math.ceil(width / plan.site - GRID)
        wish = at[0] / plan.site
        middle = min(max(round(at[1] / plan.row), 0), len(self._free) - 1)
        best: tuple[float, int, int] | None = None
        for step in range(len(self._free)):
            if best and (step - 1) * plan.row > best[0]:
                break
            for row in {middle - step, middle + step}:
                if not 0 <= row < len(self._free):
                    continue
                first = self._nearest(row, wish, sites)
                if first is None:
                    continue
                away = abs(first - wish) * plan.site + abs(row * plan.row - at[1])
                if best is None or (away, row) < best[:2]:
                    best = away, row, first
        if best is None:
            raise SynthError(f"no room for a cell of {width:g} um: give a lower --density")
        _, row, first = best
        self._take(row, first, first + sites)
        return first * plan.site, row * plan.row

    def free(self, at: tuple[float, float], width: float) -> None:
        """Give back a place that :meth:`take` returned."""
        first = round(at[0] / self._plan.site)
        end = first + math.ceil(width / self._plan.site - GRID)
        row = self._free[round(at[1] / self._plan.row)]
        bisect.insort(row, (first, end))
        joined: list[tuple[int, int]] = []
        for low, high in row:
            if joined and joined[-1][1] == low:
                joined[-1] = joined[-1][0], high
            else:
                joined.append((low, high))
        row[:] = joined

    def flipped(self, y: float) -> bool:
        """Whether a row's cells are mirrored in y: every other one."""
        return round(y / self._plan.row) % 2 == 1

    def _nearest(self, row: int, wish: float, sites: int) -> int | None:
        """Return the first site nearest to a wish from which so many sites are free."""
        free = self._free[row]
        start = bisect.bisect_right(free, (math.floor(wish), math.inf))
        best: int | None = None
        # From the gap at the wish leftward, then rightward, until a gap is further than the best.
        for gaps in (reversed(free[:start]), free[start:]):
            for low, end in gaps:
                if end - low < sites:
                    continue
                first = min(max(round(wish), low), end - sites)
                if best is None or abs(first - wish) < abs(best - wish):
                    best = first
                break
        return best

    def _take(self, row: int, first: int, end: int) -> None:
        """Take sites of a row, those that are free among them."""
        kept = []
        for low, high in self._free[row]:
            if high <= first or low >= end:
                kept.append((low, high))
                continue
            if low < first:
                kept.append((low, first))
            if high > end:
                kept.append((end, high))
        self._free[row] = kept
