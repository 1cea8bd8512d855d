"""Run the value array beside its cycle model and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import signed
from numpy.typing import NDArray

from dtqatten.configuration.core import CODE_MAX, CODE_MIN, Config
from dtqatten.configuration.limits import EXPONENT_MAX
from dtqatten.golden.cycles.tile_rows import tile_rows, visited_tiles
from dtqatten.golden.cycles.tiles import load_beats
from dtqatten.golden.cycles.value_array import ValueArrayModel
from dtqatten.golden.numerics.local_values import fetched, tiling
from dtqatten.golden.numerics.weights import WeightCode
from dtqatten.hw.payloads.arrays import score_row_layout, value_layout
from dtqatten.hw.payloads.choices import choice_layout
from dtqatten.hw.payloads.softmax import weight_row_layout
from dtqatten.sim.engines.ports import pack
from dtqatten.sim.lockstep.streams import StreamLockstep

__all__ = ["ValueHead", "ValueLockstep", "clear_tiles", "random_value_head"]


@dataclass(frozen=True, eq=False)
class ValueHead:
    """Weights ``[n_q, n_k]``, value codes ``[n_k, d_head]``, and tokens at 8 bit, ``[n_k]``.

    ``follows``: the weights have their token's precision. ``narrow``: queries whose weights have
    their highest plane only, ``[n_q]``. ``share``: groups that a row block multiplies, in 1/256.
    ``exponents``: where tiles have them, those of each query, ``[n_q, tiles]``. ``chosen``: values
    come after the choice of the only row block, of these groups alone.
    """

    weights: NDArray[np.integer]
    values: NDArray[np.integer]
    wide: NDArray[np.bool_]
    follows: bool
    narrow: NDArray[np.bool_]
    share: int = 0
    exponents: NDArray[np.integer] | None = None
    chosen: bool = False


def random_value_head(
    config: Config,
    rng: np.random.Generator,
    *,
    wide_share: float | None = None,
    follows: bool | None = None,
    narrow_share: float | None = None,
) -> ValueHead:
    """Return a head of up to 6 queries and 17 keys.

    Narrow queries come first or last, so that row blocks are narrow, mixed, or neither. Many
    weights are zero or the largest.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    wide_share : float, optional
        Share of 8-bit tokens; drawn by default.
    follows : bool, optional
        Weights follow their tokens; drawn by default.
    narrow_share : float, optional
        Share of narrow queries; drawn by default.
    """
    code = WeightCode.of(config)
    share = rng.choice([0.0, 0.4, 1.0]) if wide_share is None else wide_share
    follows = bool(rng.integers(2)) if follows is None else follows
    queries, keys = rng.integers(1, np.minimum(config.n_max, [6, 17]) + 1)
    if config.chosen_values and rng.random() < 0.7:
        queries = rng.integers(1, min(config.rows, config.n_max) + 1)
    weights = rng.integers(0, code.top + 1, (queries, keys)) * (rng.random((queries, keys)) < 0.8)
    weights[rng.random((queries, keys)) < 0.1] = code.top
    if config.skip_tiles:
        clear_tiles(config, rng, weights)
    values = rng.integers(CODE_MIN, CODE_MAX + 1, (keys, config.d_head))
    wide = rng.random(keys) < share
    narrow_share = rng.choice([0.0, 0.5, 1.0]) if narrow_share is None else narrow_share
    narrow = (np.arange(queries) < round(narrow_share * queries))[:: int(rng.choice([1, -1]))]
    low = (~wide & follows) | narrow[:, None]
    kept = np.where(low, code.highest(weights), weights)
    share = int(rng.choice([0, 1, 128, 255])) if config.local_values else 0
    exponents = None
    if config.block_exponents:
        exponents = rng.integers(0, EXPONENT_MAX + 1, (queries, -(-keys // config.cols)))
    chosen = config.chosen_values and share > 0 and queries <= config.rows and rng.random() < 0.7
    return ValueHead(kept, values, wide, follows, narrow, share, exponents, chosen)


def comes(config: Config, head: ValueHead) -> NDArray[np.bool_]:
    """Return which of a head's values come, ``[n_k]``."""
    keys = len(head.values)
    if not head.chosen:
        return np.ones(keys, bool)
    weights = head.weights
    (tiles,) = visited_tiles(config, weights)
    if head.exponents is not None:
        weights = weights << EXPONENT_MAX - head.exponents[:, np.arange(keys) // config.cols]
    kept = fetched(weights, head.share, (config.cols, config.group), tiles)
    found: NDArray[np.bool_] = kept[tiling(1, 1, keys, (1, config.cols, config.group)).groups]
    return found


def clear_tiles(config: Config, rng: np.random.Generator, *values: NDArray) -> None:
    """Zero some tiles of some row blocks in arrays ``[queries, keys]``, so that they are skipped.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    *values : array, [queries, keys]
    """
    queries, keys = values[0].shape
    share = rng.choice([0.2, 0.8, 1.0])
    for top in range(0, queries, config.rows):
        for left in range(0, keys, config.cols):
            if rng.random() < share:
                for each in values:
                    each[top : top + config.rows, left : left + config.cols] = 0


class ValueLockstep(StreamLockstep):
    """Heads streamed through an observed value array.

    Parameters
    ----------
    config : Config
    heads : sequence of ValueHead
    stall, lazy, seed, held
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.
    """

    def __init__(self, config: Config, heads: Sequence[ValueHead], **stalls: Any) -> None:
        self.config = config
        weights = [
            row
            for head in heads
            for row in tile_rows(
                config,
                head.weights,
                head.narrow,
                visited_tiles(config, head.weights),
                head.exponents,
                head.share if head.chosen else 0,
            )
        ]
        values = [
            beat
            for head in heads
            for mine in (comes(config, head),)
            for beat in load_beats(
                config,
                head.values[mine],
                head.wide[mine],
                config.value_nibbles,
                follows=head.follows,
                share=head.share,
                chosen=head.chosen,
            )
        ]
        rows = sum(len(head.weights) for head in heads) * config.channel_passes
        groups = config.key_tiles * config.parts
        tile = 2 * config.planes * groups + config.rows + config.cols
        super().__init__(
            ValueArrayModel(config),
            {"weights": weight_row_layout(config), "values": value_layout(config)},
            {"sums": score_row_layout(config, config.sum_width)}
            | ({"choices": choice_layout(config)} if config.chosen_values else {}),
            {"weights": weights, "values": values},
            {"sums": rows},
            work=len(weights) + len(values) + tile * rows,
            **stalls,
        )

    def pack(self, name: str, beat: Any) -> int:
        """Pack a beat of a stream as its payload."""
        return super().pack(
            name, {**vars(beat), "precision": beat.wide} if name == "values" else beat
        )

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        values = self.model.values_ready(offered["values"])
        return {"weights": self.model.weights_ready, "values": values}

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle, the payload while valid."""
        return super().expected() | {
            "working": int(self.model.stepping),
            "acc": pack(self.model.acc, signed(self.config.sum_width), "acc"),
        }

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(
            offered["weights"], offered["values"], ready["sums"], ready.get("choices", False)
        )
