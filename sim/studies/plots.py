"""Pictures of what the array does."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dtqatten.files.pictures import save
from dtqatten.sim.studies.colours import BUSY, IDLE, PRECISION, STALLED
from dtqatten.sim.studies.stalls import StallStudy

__all__ = ["activity_figure", "save", "scores_figure", "timeline_figure"]

ACTIVITY_COLOURS = (IDLE, BUSY, STALLED)


def draw_activity(axes: Any, study: StallStudy, title: str, cycles: int | None = None) -> None:
    """Draw busy and stalled PEs over time.

    Parameters
    ----------
    axes : matplotlib axes
    study : StallStudy
    title : str
    cycles : int, optional
        Width of the picture.
    """
    picture = np.zeros((study.activity.shape[1], cycles or study.cycles), dtype=np.uint8)
    picture[:, : len(study.activity)] = study.activity.T[:, : picture.shape[1]]
    axes.imshow(
        picture,
        aspect="auto",
        interpolation="nearest",
        cmap=ListedColormap(list(ACTIVITY_COLOURS)),
        vmin=0,
        vmax=2,
    )
    axes.set_title(
        f"{title}: {study.cycles} cycles, PEs busy {100 * study.utilization:.1f} % of their tiles",
        fontsize=9,
        loc="left",
    )
    axes.set_ylabel("PE (row by row)", fontsize=8)
    axes.tick_params(labelsize=7)


def activity_figure(studies: dict[str, StallStudy]) -> Figure:
    """Return PEs over time for each order, on one time axis."""
    figure = Figure(figsize=(10, 0.6 + 2.0 * len(studies)), layout="constrained")
    axes = figure.subplots(len(studies), 1, squeeze=False)[:, 0]
    longest = max(study.cycles for study in studies.values())
    for one, (title, study) in zip(axes, studies.items(), strict=True):
        draw_activity(one, study, title, longest)
    axes[-1].set_xlabel("cycle", fontsize=8)
    legend = [
        Patch(color=colour, label=label)
        for colour, label in zip(ACTIVITY_COLOURS, ("idle", "busy", "stalled"), strict=True)
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def scores_figure(
    scores: NDArray[np.floating], tokens: Sequence[str], bits: Sequence[int], title: str
) -> Figure:
    """Return a picture of a head's scores, query by key, with tokens coloured by precision.

    Parameters
    ----------
    scores : float array ``[queries, keys]``
    tokens : sequence of str
    bits : sequence of int
        Precision of each token.
    title : str
    """
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(scores, cmap=matplotlib.colormaps["viridis"])
    figure.colorbar(image, ax=axes, label="score, softmax units")
    axes.set_title(title, fontsize=10)
    for axis, labels in (
        (axes.xaxis, axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=7)),
        (axes.yaxis, axes.set_yticks(range(len(tokens)), tokens, fontsize=7)),
    ):
        del labels
        for label, precision in zip(axis.get_ticklabels(), bits, strict=True):
            label.set_color(PRECISION[int(precision)])
            label.set_fontweight("bold" if precision == 8 else "normal")
    axes.set_xlabel("key (dark, bold: 8 bit; light: 4 bit)")
    axes.set_ylabel("query")
    return figure


def timeline_figure(
    activity: dict[str, NDArray[np.bool_]], title: str, *, window: int = 1200
) -> Figure:
    """Return which units of the core work when.

    Parameters
    ----------
    activity : dict of bool arrays, [cycles]
        By unit.
    title : str
    window : int
        Cycles of the lower panels, which show single cycles: from the first in which a unit works,
        in the middle, and the last ones. The upper one shows all, averaged over a pixel's width.
    """
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    rows = np.array(list(activity.values()), dtype=float)
    cycles = rows.shape[1]
    pixels = min(cycles, 600)
    edges = np.linspace(0, cycles, pixels + 1).astype(int)
    means = np.add.reduceat(rows, edges[:-1], axis=1) / np.diff(edges)
    shares = rows.mean(axis=1)
    panels = [(grid[0, :], 0, cycles, means, f"{title}: {cycles} cycles")]
    last = max(0, cycles - window)
    begin = min(int(rows.any(axis=0).argmax()), last)
    starts = {begin: "begin", last // 2: "middle", last: "end"}
    for at, (start, name) in enumerate(starts.items()):
        end = min(start + window, cycles)
        panels.append((grid[1, at], start, end, rows[:, start:end], name))
    for at, (place, start, end, picture, name) in enumerate(panels):
        axes = figure.add_subplot(place)
        image = axes.imshow(
            picture,
            aspect="auto",
            interpolation="nearest",
            cmap="Blues",
            vmin=0,
            vmax=1,
            extent=(start, end, len(rows) - 0.5, -0.5),
        )
        for boundary in range(1, len(rows)):
            axes.axhline(boundary - 0.5, color="white", linewidth=3)
        labels = [f"{unit}  {share:.1%}" for unit, share in zip(activity, shares, strict=True)]
        axes.set_yticks(range(len(rows)), labels if at == 0 else [""] * len(rows), fontsize=8)
        if at == 1:
            axes.set_yticks(range(len(rows)), list(activity), fontsize=8)
        axes.set_title(name, fontsize=9, loc="left")
        axes.tick_params(axis="x", labelsize=7)
        axes.set_xlabel("cycle", fontsize=8)
        if at == 0:
            figure.colorbar(image, ax=axes, label="share of cycles working")
    return figure
