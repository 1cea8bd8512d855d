"""A block of a machine as a design to synthesize."""

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import PREFIX, verilog
from dtqatten.hw.blocks import Block, build
from dtqatten.synth.design import Design

__all__ = ["block_design"]


def block_design(
    name: str, block: Block, system: SystemConfig, *, serial_pins: bool = False
) -> Design:
    """Return a block as a design.

    Parameters
    ----------
    name : str
        Of its results.
    block : Block
    system : SystemConfig
    serial_pins : bool
        See :func:`~dtqatten.hw.blocks.build`.
    """
    kind = f"{block}_pins" if serial_pins else str(block)
    files = {f"{PREFIX}{kind}.v": verilog(build(block, system, serial_pins=serial_pins), kind)}
    # No block uses what it reads from a word that is being written.
    return Design(name, f"{PREFIX}{kind}", files, collisions_matter=False)
