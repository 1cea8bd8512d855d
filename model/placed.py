"""Figures of placed blocks: with wires, a clock tree, and the die in place of its cells."""

from pathlib import Path

from dtqatten.model.figure import Figure
from dtqatten.model.netlist import synthesized

__all__ = ["placed_figures"]


def placed_figures(folder: Path, per_cycle: float, pe_pj: float | None) -> list[Figure]:
    """Return the figures of the placed core and PE of preset base.

    Parameters
    ----------
    folder : Path
        Results of ``dtqatten synth --place``.
    per_cycle : float
        Operations of the original model that the core does in a cycle.
    pe_pj : float or None
        Energy of a placed PE in a cycle.
    """
    core = synthesized(folder, "placed-base-core") or {}
    pe = synthesized(folder, "placed-base-pe") or {}
    mhz, mm2 = core.get("placed_fmax_mhz"), core.get("placed_mm2")
    of_core = "dtqatten synth --target asic --preset base --block core --place"
    of_pe = "dtqatten synth --target asic --preset base --block pe --place"
    return [
        Figure("placed_fmax_mhz", mhz, "core, MHz, with wires and clock tree", of_core, "1000"),
        Figure("placed_core_mm2", mm2, "die of the core, mm2; second ports modelled", of_core),
        Figure(
            "placed_density",
            core.get("placed_density"),
            "cells and macros over that die",
            of_core,
            "at least 0.7",
        ),
        Figure(
            "placed_gops_per_mm2",
            None if mhz is None or mm2 is None else per_cycle * min(mhz, 1000.0) / 1000 / mm2,
            "dense-equivalent GOP/s at that clock, at most 1 GHz, over that die",
            "dtqatten results",
            "at least 3000",
        ),
        Figure(
            "um2_per_multiplier_placed",
            pe.get("um2_per_multiplier_placed"),
            "die of a PE, um2 a 4-bit multiplier",
            of_pe,
            "at most 150",
        ),
        Figure(
            "pe_pj_placed",
            pe_pj,
            "a placed PE in a cycle, as pe_pj, with wires and clock tree",
            "dtqatten results",
            "at most 2.0",
        ),
    ]
