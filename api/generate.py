"""Verilog of a block, as text."""

from dtqatten.api.machines import Machine, system_of
from dtqatten.files.errors import UsageError

__all__ = ["verilog"]


def verilog(preset: Machine = "base", block: str = "core") -> str:
    """Return the Verilog of a block.

    Parameters
    ----------
    preset : str, Config or SystemConfig
        The machine; one without a bus gets one of 128 bits.
    block : str
        ``"core"``, ``"system"`` (core, DMA and registers on AXI4) or another that
        ``dtqatten verilog --help`` lists.

    Returns
    -------
    str
        Verilog-2005: a header with ports and parameters, one module for each kind of block.

    Raises
    ------
    ValueError
        If there is no such block; ``ConfigError`` if there is no such preset.

    Examples
    --------
    >>> import dtqatten
    >>> "module dtqatten_pe(" in dtqatten.verilog("tiny", block="pe")
    True
    """
    from dtqatten.hw.base.export import verilog as exported
    from dtqatten.hw.blocks import Block, build

    if block not in list(Block):
        raise UsageError(f"block is {block!r}: choose one of {', '.join(Block)}")
    return exported(build(Block(block), system_of(preset)), block)
