"""Pictures of a placed block: its units, and its worst path."""

from collections import Counter

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.timing import SlowPath

__all__ = ["layout_figure", "units_of"]

#: Pixels of a picture's longer side, and units that have a colour of their own.
PIXELS, UNITS = 1600, 16


def units_of(names: list[str]) -> list[str]:
    """Return each cell's unit: so many of its instances' names that there are several units."""
    parts = [name.split("/") for name in names]
    units: list[str] = []
    for depth in range(1, 5):
        units = ["/".join(path[: min(depth, len(path) - 1)]) or "top" for path in parts]
        counts = Counter(units)
        if len(counts) >= 4 and max(counts.values()) < 0.9 * len(names):
            break
    return units


def layout_figure(layout: Layout, path: SlowPath | None, title: str) -> Figure:
    """Return a block's floorplan coloured by unit, and beside it its worst path.

    Parameters
    ----------
    layout : Layout
    path : SlowPath or None
        Drawn from cell to cell.
    title : str
    """
    plan = layout.plan
    tall = 7.0 * plan.height / plan.width + 1.6
    figure = Figure(figsize=(15, min(max(tall, 4.0), 16.0)), layout="constrained")
    left, right = figure.subplots(1, 2)
    units = units_of(layout.netlist.names)
    area = layout.sizes.prod(axis=1)
    sums: Counter[str] = Counter()
    for unit, of in zip(units, area.tolist(), strict=True):
        sums[unit] += of
    shown = [unit for unit, _ in sums.most_common(UNITS)]
    number = {unit: i for i, unit in enumerate(shown)}
    colours = matplotlib.colormaps["tab20"]
    palette = np.array([*(colours(i % 20)[:3] for i in range(len(shown))), (0.4, 0.4, 0.4)])
    of_cell = np.array([number.get(unit, len(shown)) for unit in units])
    _raster(left, layout, palette[of_cell])
    legend = [
        Patch(color=palette[i], label=f"{unit} {sums[unit] / area.sum():.0%}")
        for i, unit in enumerate(shown)
    ]
    if len(sums) > len(shown):
        legend.append(Patch(color=palette[-1], label=f"{len(sums) - len(shown)} more"))
    figure.legend(handles=legend, fontsize=6, loc="outside lower left", ncols=6)
    left.set_title(title, fontsize=9, loc="left", parse_math=False)
    grey = np.where(layout.is_core[:, None], 0.85, 0.65) * np.ones(3)
    _raster(right, layout, grey)
    if path is not None and path.cells:
        middle = layout.at + layout.sizes / 2
        x, y = middle[list(path.cells)].T
        right.plot(x, y, "-o", color="#c00000", markersize=3, linewidth=1)
        right.plot(x[:1], y[:1], "s", color="#0040c0", markersize=6)
        right.set_title(
            f"worst path, slack {path.slack_ns:.3f} ns: {path.start} -> {path.end}",
            fontsize=7,
            loc="left",
            parse_math=False,
        )
    return figure


def _raster(axes: Axes, layout: Layout, colours: NDArray[np.float64]) -> None:
    """Draw every cell in its colour."""
    plan = layout.plan
    scale = PIXELS / max(plan.width, plan.height)
    shape = int(np.ceil(plan.height * scale)), int(np.ceil(plan.width * scale))
    image = np.ones((*shape, 3))
    low = np.rint(layout.at * scale).astype(np.int64)
    high = np.maximum(np.rint((layout.at + layout.sizes) * scale).astype(np.int64), low + 1)
    size = high - low
    # Each cell's pixels, one after the other.
    cell = np.repeat(np.arange(len(low)), size.prod(axis=1))
    starts = np.cumsum(size.prod(axis=1)) - size.prod(axis=1)
    index = np.arange(len(cell)) - starts[cell]
    x = low[cell, 0] + index % size[cell, 0]
    y = low[cell, 1] + index // size[cell, 0]
    inside = (x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0])
    image[y[inside], x[inside]] = colours[cell[inside]]
    axes.imshow(image, origin="lower", extent=(0, plan.width, 0, plan.height))
    axes.set_xlabel("um", fontsize=8)
    axes.plot(*layout.ports.T, ".", color="black", markersize=1)
