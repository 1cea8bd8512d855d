"""A picture of machines: die against time, coloured by energy."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from dtqatten.synth.explore import Machine, front

__all__ = ["explore_figure"]


def explore_figure(
    machines: Sequence[Machine], choice: Machine | None, mm2: float | None = None
) -> Figure:
    """Return machines by die and time: a line joins those that none beats in die and time.

    Those whose energy is not known are white.

    Parameters
    ----------
    machines : sequence of Machine
    choice : Machine or None
        Has a ring.
    mm2 : float or None
        The largest die, a line.
    """
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    known = [one for one in machines if one.costs is not None]
    unknown = [one for one in machines if one.costs is None]
    if known:
        dots = axes.scatter(
            [one.die_mm2 for one in known],
            [one.sequence_us for one in known],
            c=[one.with_dram_uj for one in known],
            cmap="viridis_r",
            s=36,
            zorder=3,
        )
        figure.colorbar(dots, label="uJ a sequence, DRAM included")
    axes.scatter(
        [one.die_mm2 for one in unknown],
        [one.sequence_us for one in unknown],
        c="white",
        edgecolors="black",
        s=36,
        zorder=3,
    )
    line: list[Machine] = []
    for one in sorted(machines, key=lambda one: (one.die_mm2, one.sequence_us)):
        if not line or one.sequence_us < line[-1].sequence_us:
            line.append(one)
    axes.step(
        [one.die_mm2 for one in line],
        [one.sequence_us for one in line],
        where="post",
        color="grey",
        linewidth=1,
    )
    for one in front(machines) + unknown:
        axes.annotate(
            one.machine,
            (one.die_mm2, one.sequence_us),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=6,
        )
    if choice is not None:
        axes.plot(choice.die_mm2, choice.sequence_us, "o", mfc="none", mec="red", ms=12)
    if mm2 is not None:
        axes.axvline(mm2, color="red", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    axes.set_xlabel("die of the core, mm2")
    axes.set_ylabel("us a sequence")
    axes.grid(visible=True, which="both", linewidth=0.3)
    return figure
