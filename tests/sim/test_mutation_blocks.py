"""The table of blocks that mutation testing runs."""

from dtqatten.commands.verilog import Block
from dtqatten.sim.mutation_blocks import BLOCKS


def test_every_block_that_stands_alone_is_there() -> None:
    """Core and system are not: their blocks are."""
    assert set(BLOCKS) == set(Block) - {Block.CORE, Block.SYSTEM}


def test_plays_have_an_end_or_are_cut_off_by_a_reset() -> None:
    for block in BLOCKS.values():
        plays = list(block.plays())
        assert all(play.reset_cycles > 0 for play in plays)
        assert any(play.cycles is None for play in plays)
