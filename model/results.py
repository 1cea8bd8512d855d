"""The project's figures in one place: from the cycle model and from results of synthesis."""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtqatten.algorithm.packaged import packaged_policy
from dtqatten.configuration.core import PRESETS
from dtqatten.model.compare import (
    SCALED,
    SEARCHED,
    searched_speedup,
    speedups,
    weight_precisions,
)
from dtqatten.model.core import CoreRun, run_core
from dtqatten.model.energy import DRAM_PJ_PER_BIT, coefficients, head_energy
from dtqatten.model.figure import Figure
from dtqatten.model.measured import Measured
from dtqatten.model.netlist import BLOCKS, Netlist, synthesized
from dtqatten.model.placed import placed_figures
from dtqatten.model.workload import Workload

__all__ = ["Figure", "figures", "figures_in", "markdown", "shipped"]

#: Attention of BERT-Base with 384 tokens and the paper's shares.
WORKLOAD = Workload(full_tiles=True)
BASE = PRESETS["base"]


def joules(energy: dict[str, float], *, dram: bool) -> float:
    """Return operations of the original model per nJ, which are GOP/J."""
    spent = sum(value for unit, value in energy.items() if dram or unit != "DRAM")
    return 2 * WORKLOAD.macs / spent


def shipped(folder: Path, pe_pj: float | None, tools: str) -> dict[str, Measured]:
    """Return what comes with the package: of every preset whose core has been synthesized.

    Parameters
    ----------
    folder : Path
        Results of ``dtqatten synth``.
    pe_pj : float or None
        Energy of a PE of ``base`` in a cycle.
    tools : str
        Names and versions.
    """
    found: dict[str, Measured] = {}
    whole, pe = Netlist.read(folder), synthesized(folder, "asic-base-pe")
    if whole.fmax is not None:
        power = None
        if whole.powered and pe and pe_pj is not None:
            power = coefficients(BASE, whole.blocks, pe, pe_pj)
        parts = ("core",) if whole.core else BLOCKS
        each = " ".join(f"--block {block}" for block in parts)
        command = f"dtqatten synth --target asic --preset base {each}"
        target = "45 nm cells, typical, not placed"
        found["base"] = Measured(target, whole.fmax, whole.mm2, power, command, tools)
    edge = synthesized(folder, "ecp5-edge-core")
    if edge and "fmax_mhz" in edge:
        command = "dtqatten synth --target ecp5 --preset edge --block core --seeds 6"
        target = "ECP5-85, speed grade 6, placed and routed"
        found["edge"] = Measured(target, edge["fmax_mhz"], None, None, command, tools)
    return found


def figures(
    folder: Path,
    power: Callable[[Path], float] | None = None,
    placed_power: Callable[[Path], float | None] | None = None,
    explore_errors: Collection[float] = (),
) -> list[Figure]:
    """Return all figures.

    Parameters
    ----------
    folder : Path
        Results of ``dtqatten synth``.
    power : callable, optional
        Returns the pJ that a PE takes in a cycle, given the same folder.
    placed_power : callable, optional
        Returns the same of a placed PE, None where there is none.
    explore_errors : collection of float
        Of the area model of ``dtqatten explore``, on designs that it is not fitted to.
    """
    run = run_core(BASE, WORKLOAD)
    whole = Netlist.read(folder)
    pe = synthesized(folder, "asic-base-pe") or {}
    pe_pj = power(folder) if pe and power is not None else None
    energy = None
    if whole.powered and pe_pj is not None:
        parts = coefficients(BASE, whole.blocks, pe, pe_pj)
        energy = head_energy(WORKLOAD.filled(BASE.cols), run, parts)
    placed_pj = placed_power(folder) if placed_power is not None else None
    return [
        *_synthesis(folder, pe, whole),
        *placed_figures(folder, 2 * WORKLOAD.macs / run.head_cycles, placed_pj),
        *_explored(explore_errors),
        *_throughput(run, whole),
        *_energy(pe_pj, energy),
        *_limits(run),
        *_speedups(),
    ]


def _synthesis(folder: Path, pe: dict[str, Any], whole: Netlist) -> list[Figure]:
    """Areas and clock rates."""
    edge = synthesized(folder, "ecp5-edge-core") or {}
    tried = edge.get("tried_mhz", ())
    asic = "dtqatten synth --target asic --preset base"
    slowest, all_of_it, parts = "slowest of its blocks", "its blocks together", BLOCKS
    if whole.core:
        slowest, all_of_it, parts = "core", "core", ("core",)
    each = " ".join(f"--block {block}" for block in parts)
    return [
        Figure(
            "um2_per_multiplier",
            pe.get("um2_per_multiplier"),
            "PE with its share of its pod's registers, um2 a 4-bit multiplier, 45 nm",
            f"{asic} --block pe",
            "at most 220",
        ),
        Figure(
            "asic_fmax_mhz",
            whole.fmax,
            f"{slowest}, MHz, 45 nm typical, not placed",
            f"{asic} {each}",
            "1000",
        ),
        Figure(
            "ecp5_fmax_mhz",
            edge.get("fmax_mhz"),
            "core of preset edge on ECP5-85, speed grade 6, MHz, placed and routed"
            + (f"; seeds: {', '.join(f'{mhz:.1f}' for mhz in tried)}" if tried else ""),
            "dtqatten synth --target ecp5 --preset edge --block core --seeds 6",
            "120",
        ),
        Figure(
            "core_mm2",
            whole.mm2,
            f"{all_of_it}, mm2, with SRAM; second ports modelled",
            f"{asic} {each}",
        ),
    ]


def _explored(errors: Collection[float]) -> list[Figure]:
    """How far the area model is off."""
    if not errors:
        return []
    return [
        Figure(
            "explore_error",
            sum(map(abs, errors)) / len(errors),
            f"area by the model of dtqatten explore over that of the netlist, less 1: mean of "
            f"{len(errors)} designs that it is not fitted to, at most {max(map(abs, errors)):.3f}",
            "tools/fit_area.py",
        )
    ]


def _throughput(run: CoreRun, whole: Netlist) -> list[Figure]:
    """Operations of the original model a second."""
    in_order = run_core(BASE, replace(WORKLOAD, alternate=False))
    per_cycle = 2 * WORKLOAD.macs / run.head_cycles
    mm2 = whole.mm2
    gops = None if whole.fmax is None else per_cycle * min(whole.fmax, 1000.0) / 1000
    return [
        Figure(
            "gops",
            gops,
            "dense-equivalent GOP/s at that clock, at most 1 GHz: 384 tokens, 28/41.4/30.6 %",
            "dtqatten results",
        ),
        Figure(
            "gops_at_1ghz",
            per_cycle,
            "the same at 1 GHz, whether the netlist closes it or not",
            "dtqatten results",
        ),
        Figure(
            "gops_at_1ghz_in_order",
            2 * WORKLOAD.macs / in_order.head_cycles,
            "the same with all 4-bit queries first",
            "dtqatten results",
        ),
        Figure(
            "gops_per_mm2",
            None if gops is None or mm2 is None else gops / mm2,
            "gops over core_mm2 (published: DTQAtten 678.4, SpAtten 238, A3 106, at 40 nm)",
            "dtqatten results",
            "at least 2000",
        ),
        Figure(
            "gops_per_mm2_at_1ghz",
            None if mm2 is None else per_cycle / mm2,
            "gops_at_1ghz over core_mm2",
            "dtqatten results",
        ),
    ]


def _energy(pe_pj: float | None, energy: dict[str, float] | None) -> list[Figure]:
    """Energy of a head, and operations a joule."""
    return [
        Figure(
            "pe_pj",
            pe_pj,
            "a PE in a cycle, 8 products, pJ: gate-level activity on the recorded sentence",
            "dtqatten results",
        ),
        Figure(
            "gops_per_joule",
            None if energy is None else joules(energy, dram=False),
            "of the core, without DRAM: PEs by gate-level activity, the rest modelled "
            "(published: DTQAtten 1298.4, SpAtten 382, A3 269)",
            "dtqatten results",
        ),
        Figure(
            "gops_per_joule_with_dram",
            None if energy is None else joules(energy, dram=True),
            f"the same with {DRAM_PJ_PER_BIT:g} pJ for every bit of Q, K, V and outputs",
            "dtqatten results",
        ),
        *(
            Figure(f"nj_{unit}".replace(" ", "_"), value, "nJ of a head", "dtqatten results")
            for unit, value in (energy or {}).items()
        ),
    ]


def _limits(run: CoreRun) -> list[Figure]:
    """How much of what the multipliers can do is used."""
    return [
        Figure(
            "physical_limit_share",
            run.limit_share,
            "products of the tokens that the core keeps, over all multiplier cycles",
            "dtqatten results",
            "at least 0.9",
        ),
        Figure(
            "physical_limit_share_of_shares",
            run_core(BASE, replace(WORKLOAD, full_tiles=False)).limit_share,
            "the same where tokens beyond the shares are not kept",
            "dtqatten results",
        ),
    ]


def _speedups() -> list[Figure]:
    """How much faster than an array of 16-bit multipliers."""
    by_weights = [
        (name, scaled, speedups(scaled, [weights]))
        for name, scaled, weights in weight_precisions(Workload())
    ]
    # The fastest policy that comes with the project and loses less than 1 % of its task's metric.
    searched = searched_speedup(SCALED, packaged_policy(SEARCHED), Workload())
    return [
        *(
            Figure(
                key,
                speedup.measured,
                f"{scaled.multipliers} 4-bit multipliers over 224 of 16 bits that are always busy; "
                f"{name}; bound {speedup.bound:.2f}",
                "dtqatten compare",
                goal,
            )
            for (key, goal), (name, scaled, speedup) in zip(
                (
                    ("speedup_paper_shares_8_bit_weights", ""),
                    ("speedup_paper_shares_token_weights", ""),
                    ("speedup_paper_shares", "at least 12"),
                ),
                by_weights,
                strict=True,
            )
        ),
        Figure(
            "speedup_searched",
            searched.measured,
            f"{SCALED.multipliers} of them with policy {SEARCHED}, whose weights follow tokens; "
            f"bound {searched.bound:.2f}",
            "dtqatten compare",
            "at least 20",
        ),
    ]


def markdown(found: list[Figure], tools: str) -> str:
    """Return the figures as a page."""
    rows = "".join(
        f"| `{one.name}` | {'not measured' if one.value is None else f'{one.value:.4g}'} "
        f"| {one.goal} | {one.says} | `{one.command}` |\n"
        for one in found
    )
    return f"""# Results

Written by `make results`; do not edit. {tools}
What is measured, what is modelled, and how: [synthesis.md](synthesis.md),
[performance.md](performance.md).

| figure | value | goal | what it is | command |
|---|---|---|---|---|
{rows}"""


def figures_in(text: str) -> list[str]:
    """Return the figures that have a value in a page of :func:`markdown`, or in the JSON."""
    try:
        content = json.loads(text)
    except ValueError:
        rows = re.findall(r"^\| `(\w+)` \| ([^|]*?) *\|", text, re.MULTILINE)
        return [name for name, value in rows if value != "not measured"]
    if not isinstance(content, dict):
        return []
    return [name for name, value in content.items() if value is not None]
