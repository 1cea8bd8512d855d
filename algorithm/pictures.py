"""Pictures of what a policy does and what it costs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

if TYPE_CHECKING:
    from dtqatten.algorithm.session.records import LayerRecord
    from dtqatten.algorithm.study import Noise

__all__ = ["noise_figure", "pareto_figure", "tokens_figure"]

#: Colour of each precision.
COLOURS = {0: "#d9d9d9", 4: "#6baed6", 8: "#e6550d"}


def tokens_figure(tokens: Sequence[str], records: "Sequence[LayerRecord]", title: str) -> Figure:
    """Draw the tokens of one sentence by layer, coloured by precision, importance as height.

    Parameters
    ----------
    tokens : sequence of str
        The tokens.
    records : sequence of LayerRecord
        One a layer; the first sequence of the batch is drawn. The height is the share of all
        importance that the layer's own probabilities gave a token; pruned tokens are marked.
    title : str
        Title.
    """
    n = len(tokens)
    figure = Figure(figsize=(max(6, 0.32 * n + 1.5), 0.9 * len(records) + 1.4))
    axes = figure.subplots(len(records), 1, sharex=True, squeeze=False)[:, 0]
    for layer, (axis, record) in enumerate(zip(axes, records, strict=True)):
        bits = record.bits[0, :n].numpy().astype(int)
        drawn = record.importance[0, :n].numpy()
        height = drawn / max(float(drawn.sum()), 1e-30)
        top = max(float(height.max()), 1e-9)
        axis.bar(range(n), np.full(n, top), width=1.0, color=[COLOURS[b] for b in bits], alpha=0.25)
        axis.bar(range(n), height, width=0.8, color=[COLOURS[b] for b in bits])
        axis.set_ylabel(f"{layer}", rotation=0, labelpad=10)
        axis.set_yticks([])
        axis.set_xlim(-0.5, n - 0.5)
    axes[-1].set_xticks(range(n), tokens, rotation=90, fontsize=8)
    figure.legend(
        handles=[Patch(color=COLOURS[b], label=f"{b} bit") for b in (8, 4)]
        + [Patch(color=COLOURS[0], label="pruned")],
        ncol=3,
        loc="upper right",
        fontsize=8,
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.supylabel("layer", fontsize=9)
    figure.tight_layout()
    return figure


def pareto_figure(
    points: Mapping[str, Sequence[tuple[float, float]]],
    metric: str,
    reference: float,
    cost: str = "bit operations",
) -> Figure:
    """Draw metric against a cost.

    Parameters
    ----------
    points : dict
        ``(cost, metric)`` points by name of a series.
    metric : str
        Name of the metric.
    reference : float
        Metric of the plain model, drawn as a line with 1 % of it below and above.
    cost : str
        Its name.
    """
    figure = Figure(figsize=(7, 4.5))
    axis = figure.subplots()
    for name, series in points.items():
        if series:
            axis.scatter([p[0] for p in series], [p[1] for p in series], label=name, s=22)
    axis.axhline(reference, color="black", linewidth=0.8)
    axis.axhspan(reference * 0.99, reference * 1.01, color="green", alpha=0.1)
    axis.set_xlabel(f"{cost} relative to 8-bit attention")
    axis.set_ylabel(metric)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


def noise_figure(points: "Sequence[Noise]", metric: str, reference: float) -> Figure:
    """Draw the metric against the noise on each class of tokens, and under pruning of it."""
    figure = Figure(figsize=(7, 4.5))
    axis = figure.subplots()
    for which in dict.fromkeys(p.which for p in points):
        own = [p for p in points if p.which == which]
        line = axis.plot(
            [p.strength for p in own if p.kind == "noise"],
            [p.metric for p in own if p.kind == "noise"],
            marker="o",
            label=f"noise on {which} important",
        )
        for p in own:
            if p.kind == "prune":
                axis.axhline(
                    p.metric,
                    color=line[0].get_color(),
                    linestyle=":",
                    label=f"{which} important pruned",
                )
    axis.axhline(reference, color="black", linewidth=0.8)
    axis.set_xlabel("standard deviation of the noise, relative to the operand's rms")
    axis.set_ylabel(metric)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure
