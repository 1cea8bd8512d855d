"""Pictures of a sweep."""

from collections import defaultdict
from collections.abc import Sequence

from matplotlib.figure import Figure

from dtqatten.model.sweep import Result

__all__ = ["sweep_figure"]


def sweep_figure(results: Sequence[Result]) -> Figure:
    """Return throughput, and share of the physical limit, over tokens: a line a machine and mix."""
    lines: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        mix = "/".join(
            f"{100 * share:.0f}" for share in (result.share_0, result.share_4, result.share_8)
        )
        lines[f"{result.machine}, {mix} %, {result.bus_bits} bits"].append(result)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, line) in enumerate(lines.items()):
        line.sort(key=lambda result: result.tokens)
        tokens = [result.tokens for result in line]
        style = {"marker": "os^Dv"[number % 5], "markersize": 3, "linewidth": 1}
        left.plot(tokens, [result.gops for result in line], label=name, **style)
        right.plot(tokens, [100 * result.limit_share for result in line], **style)
    left.set_ylabel("GOP/s of the original model at 1 GHz")
    right.set_ylabel("useful products, % of all multiplier cycles")
    right.set_ylim(0, 100)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("tokens before pruning")
        axes.grid(visible=True, linewidth=0.3)
    figure.legend(loc="outside lower center", fontsize=7, ncols=2)
    return figure
