"""What has been synthesized of the core of preset base: all at once, or block by block."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["BLOCKS", "Netlist", "synthesized"]

#: What the core is made of; it adds wires and two forks.
BLOCKS: tuple[str, ...] = ("array", "softmax", "value_array", "normalizer", "token_ranking")


def synthesized(folder: Path, design: str) -> dict[str, Any] | None:
    """Return a result of ``dtqatten synth``, None if there is none of that name."""
    try:
        result: dict[str, Any] = json.loads((folder / f"{design}.json").read_text())
        return result
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Netlist:
    """What was synthesized of the core: all at once, or its blocks one by one.

    Attributes
    ----------
    core : bool
        Whether the core was synthesized at once.
    blocks : dict
        Results of its blocks, by name.
    mm2, fmax : float or None
        Area; clock rate in MHz, of the slowest block.
    """

    core: bool
    blocks: dict[str, dict[str, Any]]
    mm2: float | None
    fmax: float | None

    @classmethod
    def read(cls, folder: Path) -> "Netlist":
        """Read the results of ``dtqatten synth``."""
        found = {block: synthesized(folder, f"asic-base-{block}") for block in BLOCKS}
        blocks = {name: block for name, block in found.items() if block}
        core = synthesized(folder, "asic-base-core")
        # The core at once if that has been synthesized, or else its blocks one by one.
        whole = [core] if core else list(blocks.values()) if len(blocks) == len(BLOCKS) else []
        mm2 = fmax = None
        if whole:
            mm2 = sum(part["area_um2"] for part in whole) / 1e6
            if all("fmax_mhz" in part for part in whole):
                fmax = min(part["fmax_mhz"] for part in whole)
        return cls(bool(core), blocks, mm2, fmax)

    @property
    def powered(self) -> bool:
        """Whether the power of every block is known."""
        every = len(self.blocks) == len(BLOCKS)
        return every and all("uniform_mw" in block for block in self.blocks.values())
