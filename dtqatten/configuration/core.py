"""The configuration of golden model, gateware and simulation."""

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from dtqatten.configuration.choices import Schedule, TopKEngine
from dtqatten.configuration.fields import ConfigError, boolean, member
from dtqatten.configuration.limits import (
    EXPONENT_MAX,
    IMPORTANCE_ROWS,
    check_ranges,
    check_together,
)
from dtqatten.configuration.timing import ASIC, FPGA, Timing

__all__ = [
    "BANKS",
    "CODE_MAX",
    "CODE_MIN",
    "CODE_NORM",
    "IMPORTANCE_ROWS",
    "OUTPUT_CODE_MIN",
    "PRESETS",
    "SHARE_BITS",
    "Config",
    "ConfigError",
    "Schedule",
    "TopKEngine",
]

#: Smallest and largest balanced 8-bit code ``16*h + l``, both nibbles in [-8, 7]; of outputs.
CODE_MIN, CODE_MAX, OUTPUT_CODE_MIN = -128, 119, -120
#: Largest mean square of a token's codes: no score exceeds ``d_head * 120 * 120``.
CODE_NORM = 120 * 120

#: Bits of a share of groups of values; all of them are a power of two.
SHARE_BITS = 8
#: Banks of a line buffer: one is read while the other is written.
BANKS = 2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of a machine.

    Parameters
    ----------
    rows, cols : int
        PEs of an array: query tokens by key tokens of one tile; 1 to 64 by 1 to 128.
    depth : int
        4-bit products per PE and cycle; divides ``d_head``.
    pod_cols : int
        PEs of a row that share registers of their query operand and control; divides ``cols``.
    d_head : int
        Channels of a head; a multiple of 8 up to 256.
    n_max : int
        Most tokens of a head, 1 to 1024.
    value_depth : int or None
        Depth of the value array; need not divide ``d_head``. None: ``depth``.
    load_bits : int
        Widest beat of the streams of Q, K and V, unless ``depth`` nibbles of Q and K are wider: a
        power of two from 16 to 1024. A head takes at least as long as it loads.
    value_load_bits : int or None
        The same of V; a column takes a nibble, or a power of two of its channels. None:
        ``load_bits``, at most a nibble a column.
    normalizer_lanes : int or None
        Channels of the output a cycle, at most ``cols``. None: ``ceil(cols/4)``, for 128 keys.
    schedule : Schedule
        Order of the nibble planes.
    product_stages : int
        Cycles that a PE takes for its products before their sum: 1, or 2 where logic is slow.
    planes : int
        Nibbles of a weight of P x V: 2 (8 bits) or 3 (12 bits).
    unsigned_weights : bool
        Those nibbles are unsigned: a weight of 4 bits has 16 levels, not 8.
    block_exponents : bool
        A row has an exponent for each tile of its keys, which scales small weights up.
    v_gains : bool
        Values have a gain per token; weights are then relative to a row's largest gained one.
    signed_gains : bool
        Gains of queries and keys have a sign, and are even.
    heads : int
        Most heads of a layer; ``heads * n_max`` rows of probabilities must fit an importance.
    topk_lanes : int
        Scores a cycle of the top-k engine: a power of two up to 64.
    topk_engine : TopKEngine
        How it finds its thresholds: counting is faster, and bounded; quick-select is SpAtten's.
    cumulative : bool
        Importance can be accumulated over layers.
    count_normalize : bool
        Importance can be divided by the number of queries that saw the token; not if ``grouped``.
    capacity : int or None
        Tokens of a cache, whose ids are positions below it: ``n_max`` (None) to 65,536.
    windows : bool
        Heads can have sliding windows.
    sinks : bool
        Query heads can have sinks: logits that join their rows' sums and divisors.
    bias_heads : int
        Query heads of a head of the core with biases of their keys, 0 to 64; 1 if not ``grouped``.
    grouped : bool
        Query heads that share a head of K and V are one head of the core: each query brings the
        factor, and the sink, of its own.
    held_importance : bool
        Keys can have importance from before; protected ones rank before all others.
    head_pruning : bool
        A layer's heads, up to 64, can be ranked by their outputs; the next one has the first.
    skip_tiles : bool
        Tiles of scores that no query of their row block sees are not computed.
    local_values : bool
        A row block can multiply V of a part of its groups of keys only; needs ``skip_tiles``.
    chosen_values : bool
        Of heads of one row block, V can come after that choice, of its groups alone; needs
        ``local_values``; not with ``merge_rows``.
    progressive : bool
        Heads of one row block can have their keys in 4 bits first, and in 8 where a row is flat;
        not with ``merge_rows``.
    merge_rows : int
        Rows of queries, up to 4096, whose partial results are held, so that keys beyond ``n_max``
        come in segments. 0: none.

    Raises
    ------
    ConfigError
        If a value is impossible.
    """

    rows: int
    cols: int
    depth: int
    d_head: int = 64
    n_max: int = 512
    pod_cols: int = 1
    value_depth: int | None = None
    load_bits: int = 64
    value_load_bits: int | None = None
    normalizer_lanes: int | None = None
    schedule: Schedule = Schedule.PLANE_MAJOR
    product_stages: int = 1
    planes: int = 2
    unsigned_weights: bool = False
    block_exponents: bool = False
    v_gains: bool = False
    signed_gains: bool = False
    heads: int = 16
    topk_lanes: int = 16
    topk_engine: TopKEngine = TopKEngine.COUNTING
    cumulative: bool = False
    count_normalize: bool = False
    capacity: int | None = None
    windows: bool = False
    sinks: bool = False
    bias_heads: int = 0
    grouped: bool = False
    held_importance: bool = False
    head_pruning: bool = False
    skip_tiles: bool = False
    local_values: bool = False
    chosen_values: bool = False
    progressive: bool = False
    merge_rows: int = 0

    def __post_init__(self) -> None:
        check_ranges(self)
        for field in dataclasses.fields(self):
            if field.type in (bool, "bool"):
                boolean(self, field.name)
        member(self, "schedule", Schedule)
        member(self, "topk_engine", TopKEngine)
        check_together(self)

    def replace(self, **changes: Any) -> "Config":
        """Return a copy with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)

    @property
    def steps(self) -> int:
        """Cycles a pass over one nibble plane pair takes: ``d_head / depth``."""
        return self.d_head // self.depth

    @property
    def multipliers(self) -> int:
        """4-bit multipliers of both arrays."""
        return self.rows * self.cols * (self.depth + self.group)

    @property
    def group(self) -> int:
        """Tokens that P x V reduces in a cycle."""
        return self.value_depth or self.depth

    @property
    def of_values(self) -> "Config":
        """The configuration with the value array's depth as ``depth``."""
        config = copy.copy(self)
        object.__setattr__(config, "depth", self.group)
        return config

    @property
    def load_nibbles(self) -> int:
        """Nibbles of a load beat: as many ``depth`` as divide ``d_head`` and fit ``load_bits``."""
        return max(
            n
            for n in range(self.depth, self.d_head + 1, self.depth)
            if self.d_head % n == 0 and (4 * n <= self.load_bits or n == self.depth)
        )

    @property
    def words(self) -> int:
        """Load beats, and line buffer words, of one plane of one token."""
        return self.d_head // self.load_nibbles

    @property
    def bank_tiles(self) -> dict[str, int]:
        """Tiles in each of the :data:`BANKS` banks of an edge: of a row block, or of a head."""
        return {"q": 1, "k": self.key_tiles}

    @property
    def weight_banks(self) -> int:
        """Row blocks of weights in the value array: one more where they wait for a choice."""
        return BANKS + self.local_values

    @property
    def key_tiles(self) -> int:
        """Tiles that the keys of a head of ``n_max`` tokens take."""
        return math.ceil(self.n_max / self.cols)

    @property
    def positions(self) -> int:
        """Positions that queries and keys can have: ``capacity``."""
        return self.capacity or self.n_max

    @property
    def position_bits(self) -> int:
        """Bits of a position."""
        return max(1, (self.positions - 1).bit_length())

    @property
    def parts(self) -> int:
        """Groups of a tile's keys in the value array's reduction."""
        return math.ceil(self.cols / self.group)

    @property
    def channel_passes(self) -> int:
        """Channel passes of a row block: ``ceil(d_head / cols)``."""
        return math.ceil(self.d_head / self.cols)

    @property
    def value_nibbles(self) -> int:
        """Nibbles per beat of the value stream: of a channel, or of 2, 4, ... of each column."""
        limit = (self.value_load_bits or min(4 * self.cols, self.load_bits)) // 4
        wide = [n for i in range(1, 7) if self.d_head % (n := self.cols << i) == 0]
        divisors = [n for n in range(1, self.cols + 1) if self.d_head % n == 0]
        return max(n for n in divisors + wide if n <= limit)

    @property
    def channels_a_beat(self) -> int:
        """Channels of a column in a beat of the value stream; a word of values has as many."""
        return math.ceil(self.value_nibbles / self.cols)

    @property
    def output_lanes(self) -> int:
        """Channels per beat of the output."""
        return self.normalizer_lanes or math.ceil(self.cols / 4)

    @property
    def importance_lanes(self) -> int:
        """Importances a cycle: 1 if each is divided or added to, else ``gcd(cols, topk_lanes)``."""
        alone = self.cumulative or self.count_normalize or self.held_importance
        return 1 if alone else math.gcd(self.cols, self.topk_lanes)

    @property
    def sum_width(self) -> int:
        """Bits of a signed sum ``sum(p*v)``, a partial one too, whose planes do not cancel yet."""
        largest = {2: (120, 255), 3: (1928, 4095)}[self.planes][self.unsigned_weights]
        largest <<= EXPONENT_MAX * self.block_exponents
        return (self.n_max * largest * -CODE_MIN).bit_length() + 1

    @property
    def score_width(self) -> int:
        """Bits of a signed score ``sum(q*k)``, exact for ``d_head * 120 * 120``."""
        return (self.d_head * CODE_NORM).bit_length() + 1

    @property
    def timing(self) -> Timing:
        """What has a register of its own: more where products take two cycles, as on FPGAs."""
        return FPGA if self.product_stages > 1 else ASIC

    @property
    def grid_stages(self) -> int:
        """Cycles of words and products."""
        return self.timing.word_stages + self.product_stages

    @property
    def hops(self) -> int:
        """Pods of a row: a query operand takes so many cycles through an array."""
        return self.cols // self.pod_cols

    @property
    def flush_cycles(self) -> int:
        """Cycles of reset that flush the grids, whose data registers have none."""
        return self.rows + self.hops + self.grid_stages + 3

    @property
    def drain_interval(self) -> int:
        """Fewest cycles between ends of tiles: scores drain, and a description takes two."""
        return max(self.rows, 2)

    @property
    def tile_interval(self) -> int:
        """Cycles between the ends of two tiles of scores in 4 bits."""
        return max(self.drain_interval, self.steps)

    @property
    def score_rows(self) -> int:
        """Score rows the output buffer holds: enough that an eager consumer never stalls tiles.

        A tile reserves its rows when it starts and gives them back as they are read, at most
        ``latency`` cycles after its last step; one tile more is starting, one draining.
        """
        latency = self.rows + self.hops + self.grid_stages + self.timing.word_stages + 7
        in_flight = math.ceil(latency / self.tile_interval)
        return self.rows * (in_flight + 2)


#: Named configurations.
PRESETS: dict[str, Config] = {
    # Small enough for every simulator and every test; d_head of the MiniLM encoders.
    "tiny": Config(rows=4, cols=4, depth=4, d_head=32, n_max=64),
    # Sized for an 85k-LUT ECP5: the PEs of two arrays take 26,000 LUTs, 398 each.
    # Top-k lanes keep up with the importances, which leave four a cycle; a layer hides the rest.
    "edge": Config(rows=8, cols=4, depth=8, d_head=64, n_max=256, topk_lanes=4, product_stages=2),
    # 2048 multipliers in the score array, whose 4-bit tiles compute for as long as their scores
    # drain; 2816 in the value array, which then takes about as long.
    # Beats of 128 bits and 16 lanes of the normalizer keep up with the arrays from 64 tokens on.
    "base": Config(
        rows=8,
        cols=32,
        depth=8,
        pod_cols=8,
        value_depth=11,
        d_head=64,
        n_max=512,
        load_bits=128,
        normalizer_lanes=16,
    ),
    # The paper's machine: 3168 multipliers in two arrays of 4-bit MACs.
    "paper": Config(rows=24, cols=66, depth=1, d_head=64, n_max=512, schedule=Schedule.INTERLEAVED),
}
