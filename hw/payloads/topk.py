"""Sizes and payloads of the top-k engine."""

from dataclasses import dataclass

from amaranth.hdl import unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2

from dtqatten.configuration.choices import TopKEngine
from dtqatten.configuration.fields import ConfigError, boolean, integer, member, power_of_two
from dtqatten.hw.payloads.arrays import Precision

__all__ = [
    "TopKConfig",
    "class_row_layout",
    "extent_layout",
    "found_layout",
    "ids_layout",
    "scores_layout",
    "thresholds_layout",
]


@dataclass(frozen=True)
class TopKConfig:
    """Sizes of a top-k engine.

    Parameters
    ----------
    lanes : int
        Scores per beat; a power of two up to 64.
    n_max : int
        Most tokens of a run, 1 to 65536.
    score_width : int
        Bits of a score, unsigned, up to 64.
    index_bits : int
        Bits of a score resolved by one pass over the tokens, 2 to 8: ``2**index_bits`` counters.
    slow_logic : bool
        The search among the counters takes one more cycle, as on FPGAs.
    engine : TopKEngine
        Quick-select has no counters: ``index_bits`` and ``slow_logic`` change nothing.

    Raises
    ------
    ConfigError
        If a value is impossible; the message names value, limit and way out.
    """

    lanes: int
    n_max: int
    score_width: int = 32
    index_bits: int = 6
    slow_logic: bool = False
    engine: TopKEngine = TopKEngine.COUNTING

    def __post_init__(self) -> None:
        power_of_two(self, "lanes", 1, 64)
        integer(self, "n_max", 1, 65536)
        integer(self, "index_bits", 2, 8)
        integer(self, "score_width", 2, 64)
        boolean(self, "slow_logic")
        member(self, "engine", TopKEngine)
        if self.engine is TopKEngine.COUNTING and self.index_bits > self.score_width:
            raise ConfigError(
                f"index_bits is {self.index_bits}, more than the {self.score_width} bits of a "
                f"score: use at most {self.score_width}"
            )

    @property
    def rows(self) -> int:
        """Beats of the longest run."""
        return -(-self.n_max // self.lanes)

    @property
    def capacity(self) -> int:
        """Tokens that fit: ``n_max``, rounded up to full beats."""
        return self.rows * self.lanes

    @property
    def lane_bits(self) -> int:
        """Bits of a lane's number."""
        return ceil_log2(self.lanes)

    @property
    def pivots(self) -> int:
        """Passes of quick-select whose pivot is a score, after the first."""
        return 2 * ceil_log2(self.capacity)

    @property
    def id_bits(self) -> int:
        """Bits of a token id."""
        return max(1, ceil_log2(self.capacity))


def scores_layout(config: TopKConfig) -> data.StructLayout:
    """Beat of scores, in token order.

    ``last`` ends the run; that beat holds ``tokens`` scores, in the lowest lanes, 0 meaning
    ``lanes``. Other beats are full, and ``tokens`` is ignored.
    """
    return data.StructLayout(
        {
            "scores": data.ArrayLayout(unsigned(config.score_width), config.lanes),
            "tokens": range(config.lanes + 1),
            "last": unsigned(1),
        }
    )


def ids_layout(config: TopKConfig) -> data.StructLayout:
    """Beat of token ids of one class, ascending; zero past ``count``.

    ``last`` marks the run's last beat.
    """
    return data.StructLayout(
        {
            "ids": data.ArrayLayout(unsigned(config.id_bits), config.lanes),
            "count": range(config.lanes + 1),
            "precision": Precision,
            "last": unsigned(1),
        }
    )


def thresholds_layout(config: TopKConfig) -> data.StructLayout:
    """Thresholds of ``kept`` tokens, and of those ``wide``, the 8-bit ones."""
    return data.StructLayout(
        {"kept": unsigned(config.score_width), "wide": unsigned(config.score_width)}
    )


def found_layout(config: TopKConfig) -> data.StructLayout:
    """Place of a rank: the largest index that ``at`` >= rank tokens reach; ``above`` exceed it."""
    return data.StructLayout(
        {
            "index": unsigned(config.index_bits),
            "at": range(config.capacity + 1),
            "above": range(config.capacity + 1),
        }
    )


def extent_layout(config: TopKConfig) -> data.StructLayout:
    """Rows of a run: the one ``before_last``, or a ``single`` one; lanes of its ``tail``, the last.

    If the row is ``single``, ``before_last`` matches no row.
    """
    return data.StructLayout(
        {"before_last": range(config.rows + 1), "single": unsigned(1), "tail": config.lanes}
    )


def class_row_layout(config: TopKConfig) -> data.StructLayout:
    """A row as part of a class: tokens from ``row * lanes`` on.

    ``first``: the first row of its class; ``wide``: the 8-bit class; ``final``: the run's last
    class.
    """
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "row": range(config.rows + 1),
            "first": unsigned(1),
            "wide": unsigned(1),
            "final": unsigned(1),
        }
    )
