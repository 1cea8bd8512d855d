"""What a build serves of a descriptor's flags, and where flags are."""

from amaranth.hdl import Signal

from dtqatten import Config
from dtqatten.hw.memory.descriptor import (
    ALIGNMENT_BITS,
    chain_layout,
    descriptor_layout,
    flag,
    known_flags,
    required_flags,
)
from dtqatten.interface.descriptor import ADDRESS_ALIGNMENT, SIZE, Flag, pack

PLAIN = Config(rows=2, cols=2, depth=2, d_head=8, n_max=100)
OPTIONAL = Flag.V_GAINS | Flag.CUMULATIVE | Flag.FRESH | Flag.COUNT | Flag.WINDOW | Flag.SINKS
SEGMENTS = Flag.CONTINUES | Flag.HOLDS
OPTIONAL |= SEGMENTS | Flag.GROUPED | Flag.HELD | Flag.LOCAL_VALUES
HEADS = Flag.HEADS_CHAINED | Flag.HEAD_REPORT
OPTIONAL |= HEADS | Flag.PROGRESSIVE | Flag.UNSIGNED_WEIGHTS | Flag.BLOCK_EXPONENTS | Flag.KEY_BIAS
OPTIONAL |= Flag.CHOSEN_VALUES | Flag.SIGNED_GAINS


def test_each_option_brings_its_flags() -> None:
    assert known_flags(PLAIN) == ~OPTIONAL
    assert known_flags(PLAIN.replace(v_gains=True)) & OPTIONAL == Flag.V_GAINS
    carried = Flag.CUMULATIVE | Flag.FRESH
    assert known_flags(PLAIN.replace(cumulative=True)) & OPTIONAL == carried
    assert known_flags(PLAIN.replace(count_normalize=True)) & OPTIONAL == Flag.COUNT
    assert known_flags(PLAIN.replace(windows=True)) & OPTIONAL == Flag.WINDOW
    assert known_flags(PLAIN.replace(sinks=True)) & OPTIONAL == Flag.SINKS
    assert known_flags(PLAIN.replace(merge_rows=3)) & OPTIONAL == SEGMENTS
    assert known_flags(PLAIN.replace(grouped=True)) & OPTIONAL == Flag.GROUPED
    assert known_flags(PLAIN.replace(held_importance=True)) & OPTIONAL == Flag.HELD
    assert known_flags(PLAIN.replace(head_pruning=True)) & OPTIONAL == HEADS
    assert known_flags(PLAIN.replace(progressive=True)) & OPTIONAL == Flag.PROGRESSIVE
    assert known_flags(PLAIN.replace(block_exponents=True)) & OPTIONAL == Flag.BLOCK_EXPONENTS
    assert known_flags(PLAIN.replace(bias_heads=1)) & OPTIONAL == Flag.KEY_BIAS
    assert known_flags(PLAIN.replace(signed_gains=True)) & OPTIONAL == Flag.SIGNED_GAINS
    local = PLAIN.replace(skip_tiles=True, local_values=True)
    assert known_flags(local) & OPTIONAL == Flag.LOCAL_VALUES
    chosen = Flag.LOCAL_VALUES | Flag.CHOSEN_VALUES
    assert known_flags(local.replace(chosen_values=True)) & OPTIONAL == chosen


def test_gains_and_codes_of_weights_are_required_where_there_are_any() -> None:
    assert required_flags(PLAIN) == Flag(0)
    assert required_flags(PLAIN.replace(v_gains=True)) == Flag.V_GAINS
    unsigned = PLAIN.replace(unsigned_weights=True)
    assert required_flags(unsigned) == Flag.UNSIGNED_WEIGHTS
    both = required_flags(unsigned.replace(v_gains=True))
    assert both == Flag.V_GAINS | Flag.UNSIGNED_WEIGHTS
    assert required_flags(PLAIN.replace(block_exponents=True)) == Flag.BLOCK_EXPONENTS
    assert required_flags(PLAIN.replace(signed_gains=True)) == Flag.SIGNED_GAINS


def test_a_flag_is_one_bit_of_the_descriptor() -> None:
    layout = descriptor_layout()
    assert layout.size == 8 * SIZE
    for which in Flag:
        raw = int.from_bytes(pack({"flags": which}), "little")
        fields = layout.from_bits(raw)
        for other in Flag:
            assert fields.flags >> (other.bit_length() - 1) & 1 == (other == which)
    assert len(flag(Signal(layout), Flag.IDS)) == 1


def test_sizes() -> None:
    assert 1 << ALIGNMENT_BITS == ADDRESS_ALIGNMENT
    assert chain_layout(PLAIN).size == 2 + 3 * 7
    assert chain_layout(PLAIN.replace(head_pruning=True)).size == 2 + 3 * 7 + 2 * 16
