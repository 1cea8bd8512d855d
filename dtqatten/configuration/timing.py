"""Where a machine has registers that not every one needs."""

from dataclasses import dataclass

__all__ = ["ASIC", "FPGA", "Timing"]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Registers beside those that every machine has; each costs a cycle, or a place to wait at.

    A block reads what concerns it by name; nothing else says when a part has a register more.

    Parameters
    ----------
    word_stages : int
        Cycles that a line buffer's word waits before operands are cut from it, and that the room of
        a score row that has been read takes to the sequencer.
    buffered_weights : bool
        A row of weights is registered before it goes to all lanes of the value array's left edge.
    buffered_keys : bool
        Keys wait before each store of the softmax, in a place of its own.
    late_rings : bool
        Room that a pass of the softmax makes takes a cycle to the pass before.
    buffered_counters : bool
        What the score accumulator's memory gives is registered before anything is done with it.
    buffered_ranking : bool
        Importances wait before the search and the report, kept ids before those who take them.
    grouped_search : bool
        The search among the top-k's counters takes a cycle for groups of them and one for the rest.
    """

    word_stages: int = 0
    buffered_weights: bool = False
    buffered_keys: bool = False
    late_rings: bool = False
    buffered_counters: bool = False
    buffered_ranking: bool = False
    grouped_search: bool = False


#: Memories and wires are fast enough for logic beside them.
ASIC = Timing()

#: What leaves a block RAM has no time for anything else in its cycle, not even for the way; nor
#: has ``ready`` that comes from afar.
FPGA = Timing(
    word_stages=2,
    buffered_weights=True,
    buffered_keys=True,
    late_rings=True,
    buffered_counters=True,
    buffered_ranking=True,
    grouped_search=True,
)
