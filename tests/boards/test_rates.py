"""What boards do in a second, as it is modelled."""

import pytest

from dtqatten.boards.catalog import BOARDS, Memory
from dtqatten.boards.rates import attention_rate
from dtqatten.configuration.fields import ConfigError

ULX3S = BOARDS["ulx3s-85f"]


def test_the_slower_of_core_and_memory_counts() -> None:
    """MiniLM: 6 layers of 12 heads, 16 tokens; the core takes 384 cycles a head."""
    block = attention_rate(ULX3S, "minilm", 16)
    sdram = attention_rate(ULX3S.using(Memory.SDRAM), "minilm", 16)
    assert block.core_cycles == sdram.core_cycles == 6 * 12 * 384
    assert sdram.memory_cycles == 4 * block.memory_cycles
    assert block.sequences == pytest.approx(50e6 / block.core_cycles)
    assert sdram.sequences == pytest.approx(50e6 / sdram.memory_cycles)
    assert block.tokens == pytest.approx(16 * block.sequences)
    # Kept tokens of Q, K and V in 4 or 8 bits, and their outputs, are below all of them in 8.
    assert sdram.memory_cycles < 6 * 12 * 16 * 32 * 4 / 2
    assert block.as_built


def test_other_channels_are_those_of_another_machine() -> None:
    rate = attention_rate(ULX3S, "smollm2", 16)
    assert not rate.as_built
    with pytest.raises(ConfigError, match="tokens is 65, but the configuration has 64"):
        attention_rate(ULX3S, "minilm", 65)
