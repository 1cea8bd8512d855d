"""What a board does of a model's attention in a second, modelled."""

from dataclasses import dataclass, replace
from typing import Any

from dtqatten.api.estimate import estimate
from dtqatten.boards.catalog import Board, Memory
from dtqatten.model.shapes import shape_of

__all__ = ["AttentionRate", "attention_rate"]

#: Bytes that SDRAM of 16 bits gives in a cycle.
SDRAM_BYTES = 2


@dataclass(frozen=True)
class AttentionRate:
    """Cycles of a sequence's attention, all layers of a model, one after the other.

    Attributes
    ----------
    core_cycles : int
        By the core's cycle model, every operand there in time.
    memory_cycles : float
        That its bytes take on the memory without a pause.
    sequences, tokens : float
        A second, by the slower of both: at most that many.
    as_built : bool
        It is the board's machine; else one of as many multipliers for heads of other channels.
    """

    core_cycles: int
    memory_cycles: float
    sequences: float
    tokens: float
    as_built: bool


def attention_rate(board: Board, model: Any, tokens: int) -> AttentionRate:
    """Return how fast a board is on a model's attention, at most.

    All is modelled: latency of the memory, the serial line, and what the host does between layers
    are left out.

    Parameters
    ----------
    board : Board
    model : str, Path or object
        As of :func:`dtqatten.api.estimate.estimate`.
    tokens : int
        Of a sequence; at most the machine's ``n_max``.

    Raises
    ------
    ConfigError
        If the machine has no room for the tokens or heads.
    """
    channels = shape_of(model).d_head
    core = board.system.core
    system = replace(board.system, core=core.replace(d_head=channels))
    found = estimate(model, system, tokens=tokens, clock_mhz=board.clock_hz / 1e6)
    assert found.cycles.value is not None
    assert found.bytes.value is not None
    width = SDRAM_BYTES if board.memory is Memory.SDRAM else board.system.bus_bytes
    moving = found.bytes.value / width
    sequences = board.clock_hz / max(found.cycles.value, moving)
    return AttentionRate(
        core_cycles=int(found.cycles.value),
        memory_cycles=moving,
        sequences=sequences,
        tokens=sequences * tokens,
        as_built=channels == core.d_head,
    )
