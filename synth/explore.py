"""Machines side by side on a model's attention: time, area and energy of the whole core."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import PREFIX
from dtqatten.hw.blocks import Block
from dtqatten.model.energy import (
    DRAM_PJ_PER_BIT,
    Coefficients,
    coefficients,
    dram_bytes,
    unmeasured,
)
from dtqatten.model.shapes import Shape
from dtqatten.model.sweep import Point, on_bus
from dtqatten.synth.blocks import block_design
from dtqatten.synth.estimate.area_model import AreaModel, Part, parts_of
from dtqatten.synth.estimate.contents import Contents, contents_of

__all__ = ["Explorer", "Machine", "best", "front"]

#: Names of the core's blocks in its energy, by their module.
BLOCKS = {
    "score_array": "array",
    "softmax": "softmax",
    "value_array": "value_array",
    "normalizer": "normalizer",
    "merger": "normalizer",
    "token_ranking": "token_ranking",
}


@dataclass(frozen=True)
class Machine:
    """A machine on a model's attention, at 1 GHz.

    Attributes
    ----------
    machine : str
        A preset's name, with what differs from it.
    rows, cols, depth, value_depth, multipliers, bus_bits : int
    die_mm2 : float
        Of the core: its cells at a density, its macros with halos. Modelled.
    cells_mm2, sram_mm2 : float
        Area of cells and of macros. Modelled.
    head_cycles : int
        By the cycle model that the RTL equals, or the bus's where that needs more.
    sequence_us : float
        All heads of all layers of the model, one after the other.
    gops : float
        Operations of the original model per ns.
    sequence_uj : float or None
        Energy of these without DRAM. Modelled; None where the machine has options whose energy is
        not known (:func:`~dtqatten.model.energy.unmeasured`).
    dram_uj : float
        Q, K, V and outputs at 20 pJ a bit. Modelled.
    mw : float or None
        Power of the core while it works, without DRAM. Modelled; None likewise.
    """

    machine: str
    rows: int
    cols: int
    depth: int
    value_depth: int
    multipliers: int
    bus_bits: int
    die_mm2: float
    cells_mm2: float
    sram_mm2: float
    head_cycles: int
    sequence_us: float
    gops: float
    sequence_uj: float | None
    dram_uj: float
    mw: float | None

    @property
    def with_dram_uj(self) -> float | None:
        """Energy of a sequence with DRAM; None if it is not known."""
        return None if self.sequence_uj is None else self.sequence_uj + self.dram_uj

    @property
    def costs(self) -> tuple[float, float, float] | None:
        """What is to be small: die, time, energy with DRAM; None if that is not known."""
        energy = self.with_dram_uj
        return None if energy is None else (self.die_mm2, self.sequence_us, energy)


@dataclass(frozen=True)
class Explorer:
    """Says what a machine takes, from its RTL's word-level cells and the cycle model.

    Parameters
    ----------
    model : AreaModel
    shape : Shape
        Of the model whose attention runs.
    density, halo : float
        Of a placement: see :class:`~dtqatten.synth.place.options.PlaceOptions`.
    """

    model: AreaModel
    shape: Shape
    density: float
    halo: float

    def __call__(self, point: Point) -> Machine:
        """Return what a point's machine takes.

        Raises
        ------
        SynthError
            If Yosys refuses the machine.
        """
        config, workload = point.config, point.workload
        system = SystemConfig(core=config, bus_bits=point.bus_bits)
        design = block_design("core", Block.CORE, system)
        with tempfile.TemporaryDirectory(prefix="dtqatten-") as folder:
            contents = contents_of(design, Path(folder))
        whole = parts_of(contents, design.top, self.model, {})[""]
        run, _, cycles = on_bus(point)
        spent = None
        if not unmeasured(config):
            busy = {unit: share * run.head_cycles for unit, share in run.busy.items()}
            parts = self._coefficients(config, contents, design.top)
            spent = sum(parts.nanojoules(cycles, busy).values())
        heads = self.shape.layers * self.shape.heads
        moved = dram_bytes(workload.filled(config.cols), self.shape.shared / self.shape.heads)
        return Machine(
            point.machine,
            config.rows,
            config.cols,
            config.depth,
            config.group,
            config.multipliers,
            point.bus_bits,
            self.model.die_um2(whole, density=self.density, halo=self.halo) / 1e6,
            self.model.logic_um2(whole) / 1e6,
            self.model.sram_um2(whole) / 1e6,
            cycles,
            heads * cycles / 1e3,
            2 * workload.macs / cycles,
            None if spent is None else heads * spent / 1e3,
            heads * moved * 8 * DRAM_PJ_PER_BIT / 1e6,
            None if spent is None else 1e3 * spent / cycles,
        )

    def _coefficients(
        self, config: Config, contents: Mapping[str, Contents], top: str
    ) -> Coefficients:
        """Return the energy of a core's parts; what is in no block counts with the normalizer."""
        names = {f"{PREFIX}{module}": block for module, block in BLOCKS.items()}
        parts = parts_of(contents, top, self.model, names)
        rest = parts.pop("", None)
        if rest:
            parts["normalizer"] = joined(parts["normalizer"], rest)
        (grid,) = inside(contents, f"{PREFIX}score_array", "grid")
        (pod,) = inside(contents, grid, "pod")
        blocks = {name: self.model.synthesized(part) for name, part in parts.items()}
        one = self.model.synthesized(parts_of(contents, pod, self.model, {})[""])
        return coefficients(config, blocks, one, self.model.pj_per_product * config.depth)


def inside(contents: Mapping[str, Contents], kind: str, name: str) -> list[str]:
    """Return the kinds of the modules in one whose names begin with ``name``."""
    return [one for one in contents[kind].modules if one.startswith(PREFIX + name)]


def joined(one: Part, other: Part) -> Part:
    """Return two parts as one."""
    return Part(one.sizes + other.sizes, one.memories + other.memories)


def front(machines: Sequence[Machine]) -> list[Machine]:
    """Return the machines that no other one beats in die, time and energy at once.

    Those whose energy is not known are left out.
    """
    known = [(one, one.costs) for one in machines if one.costs is not None]
    return [
        one
        for one, mine in known
        if not any(
            costs != mine and all(a <= b for a, b in zip(costs, mine, strict=True))
            for _, costs in known
        )
    ]


def best(
    machines: Sequence[Machine], mm2: float | None = None, mw: float | None = None
) -> Machine | None:
    """Return the fastest machine within limits of die and power; of equals the smaller.

    A power that is not known is within no limit.
    """
    fitting = [
        one
        for one in machines
        if (mm2 is None or one.die_mm2 <= mm2)
        and (mw is None or (one.mw is not None and one.mw <= mw))
    ]
    return min(fitting, key=lambda one: (one.sequence_us, one.die_mm2), default=None)
