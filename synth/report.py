"""Tables and pictures of what designs cost."""

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from rich.table import Table

from dtqatten.synth.flow import ASIC

__all__ = ["area_figure", "parts", "placed_table", "table"]

#: Parts of less than this share of a design are drawn together, or without a name.
DRAWN, NAMED = 0.005, 0.05


def parts(result: dict[str, Any]) -> dict[str, float]:
    """Return the um2 of each part of an ASIC result, largest first, memories apart."""
    areas = {
        f"{kind['count']} {name.removeprefix('dtqatten_')}": kind["um2"]
        for group in ("modules", "memories")
        for name, kind in result[group].items()
    }
    return dict(sorted(areas.items(), key=lambda item: -item[1]))


def table(target: str, results: Sequence[dict[str, Any]]) -> Table:
    """Return the results of a target as a table, one row a design."""
    tools = {f"{name} {version}" for result in results for name, version in result["tools"].items()}
    of = Table(title=f"{target}: {', '.join(sorted(tools))}", title_justify="left")
    if target == ASIC:
        heads = ["um2", "of it SRAM", "flip-flops", "um2 a multiplier", "MHz", "slack, ns"]
        rows = [
            [
                f"{result['area_um2']:.0f}",
                f"{result['sram_um2']:.0f}",
                f"{result['flip_flop_um2']:.0f}",
                shown(result.get("um2_per_multiplier"), ".1f"),
                shown(result.get("fmax_mhz"), ".0f"),
                shown(result.get("slack_ns"), ".3f"),
            ]
            for result in results
        ]
    else:
        heads = [*results[0]["used"], "MHz"] if results else []
        rows = [
            [
                *map(str, result["used"].values()),
                shown(result.get("fmax_mhz"), ".1f") if result["fits"] else "does not fit",
            ]
            for result in results
        ]
    of.add_column("design")
    for head in heads:
        of.add_column(head, justify="right")
    for result, row in zip(results, rows, strict=True):
        of.add_row(result["design"], *row)
    return of


def placed_table(results: Sequence[dict[str, Any]]) -> Table:
    """Return placed results as a table, one row a design."""
    tools = {f"{n} {v}" for r in results for n, v in {**r["tools"], **r["place_tools"]}.items()}
    of = Table(title=f"placed: {', '.join(sorted(tools))}", title_justify="left")
    heads = (
        "MHz",
        "slack, ns",
        "not repaired",
        "mm2",
        "density",
        "wire, mm",
        "mean, um",
        "clock buffers",
        "skew, ps",
        "latency, ps",
        "clock, mW",
    )
    of.add_column("design")
    for head in heads:
        of.add_column(head, justify="right")
    for result in results:
        tree, slack = result["clock_tree"], result["placed_slack_ns"]
        of.add_row(
            result["design"],
            f"{result['placed_fmax_mhz']:.0f}",
            f"{slack['placed']:.3f}",
            f"{slack['clock']:.3f}",
            f"{result['placed_mm2']:.4f}",
            f"{result['placed_density']:.3f}",
            f"{result['wire_mm']:.1f}",
            f"{result['wire_mean_um']:.1f}",
            str(tree["buffers"]),
            f"{1000 * tree['skew_ns']:.0f}",
            f"{1000 * tree['latency_ns']:.0f}",
            shown(tree["mw"], ".3f"),
        )
    return of


def shown(value: float | None, form: str) -> str:
    """Return a number as text, a dash where there is none."""
    return "-" if value is None else format(value, form)


def area_figure(results: Sequence[dict[str, Any]]) -> Figure:
    """Return a bar for each ASIC result, made of its parts."""
    figure = Figure(figsize=(11, 0.4 + 0.8 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), 1, squeeze=False)[:, 0]
    colours = matplotlib.colormaps["tab20"]
    for one, result in zip(axes, results, strict=True):
        whole, left = result["area_um2"], 0.0
        for i, (part, area) in enumerate(parts(result).items()):
            if area < DRAWN * whole:
                break
            one.barh(0, area, left=left, color=colours(i % colours.N), edgecolor="white")
            if area > NAMED * whole:
                label = f"{part}\n{100 * area / whole:.0f} %"
                one.text(left + area / 2, 0, label, ha="center", va="center", fontsize=6)
            left += area
        one.barh(0, whole - left, left=left, color="#dddddd")
        one.set_title(f"{result['design']}: {whole / 1e6:.4f} mm2", fontsize=8, loc="left")
        one.set_xlim(0, whole)
        one.set_axis_off()
    return figure
