"""The table of blocks that mutation testing runs."""

import gc

import pytest

from dtqatten.hw.blocks import Block
from dtqatten.sim.engines.verilated import ports_of
from dtqatten.sim.proofs.mutation_blocks import BLOCKS


def test_every_block_that_stands_alone_is_there() -> None:
    """Core and system are not: their blocks are. Merger and quick-select are other forms of two.

    Those of tiles with exponents are other forms of three. Blocks of generation, of heads, of
    trials and of choices are parts of others, and no blocks.
    """
    generation = {"run_table", "group_rows", "protection"}
    others = {"merger", "topk_quick_select"}
    others |= {f"{name}_exponents" for name in ("pe", "value_array", "softmax")}
    heads = {"head_magnitudes", "head_ranking", "flat_rows", "widener"}
    choices = {"chosen_slots", "bias_store"}
    parts = generation | heads | choices
    assert set(BLOCKS) == set(Block) - {Block.CORE, Block.SYSTEM} | others | parts


def test_plays_have_an_end_or_are_cut_off_by_a_reset() -> None:
    for block in BLOCKS.values():
        plays = list(block.plays())
        assert all(play.reset_cycles > 0 for play in plays)
        assert any(play.cycles is None for play in plays)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_benches_drive_every_input_and_compare_every_output(name: str) -> None:
    block = BLOCKS[name]
    ports = ports_of(block.build())
    gc.collect()  # of the block, which Amaranth reports as unused
    bench = next(play.bench for play in block.plays() if play.cycles is None)
    driven, compared = set(), set()
    wanted = {port.name for port in ports if not port.is_input}
    while not bench.done and compared != wanted:
        driven |= bench.inputs().keys()
        compared |= bench.expected().keys()
        bench.clock()
    assert compared == wanted
    assert driven == {port.name for port in ports if port.is_input}
