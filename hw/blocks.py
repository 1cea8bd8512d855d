"""Blocks that are of use on their own, by name."""

import enum
from typing import Any

from dtqatten.configuration.system import SystemConfig

__all__ = ["Block", "build"]


class Block(enum.StrEnum):
    """A block that is of use on its own."""

    SYSTEM = "system"
    CORE = "core"
    ARRAY = "array"
    SOFTMAX = "softmax"
    VALUE_ARRAY = "value_array"
    NORMALIZER = "normalizer"
    TOKEN_RANKING = "token_ranking"
    SCORE_ACCUMULATOR = "score_accumulator"
    TOPK = "topk"
    PE = "pe"


def build(
    block: Block,
    system: SystemConfig,
    *,
    monitored: bool = False,
    serial_pins: bool = False,
    lite_clock: bool = False,
) -> Any:
    """Return a block's component.

    Parameters
    ----------
    block : Block
    system : SystemConfig
        Only the system itself uses the bus's sizes.
    monitored : bool
        Arrays show every PE.
    serial_pins : bool
        Shift registers stand in for its ports:
        :class:`~dtqatten.hw.base.serial_pins.SerialPins`.
    lite_clock : bool
        AXI4-Lite of the system has a clock of its own:
        :class:`~dtqatten.hw.two_clock_system.TwoClockSystem`.
    """
    if serial_pins:
        from dtqatten.hw.base.serial_pins import SerialPins

        return SerialPins(build(block, system, monitored=monitored))
    config = system.core
    match block:
        case Block.SYSTEM if lite_clock:
            from dtqatten.hw.two_clock_system import TwoClockSystem

            return TwoClockSystem(system)
        case Block.SYSTEM:
            from dtqatten.hw.system import System

            return System(system)
        case Block.CORE:
            from dtqatten.hw.core import AttentionCore

            return AttentionCore(config)
        case Block.ARRAY:
            from dtqatten.hw.arrays.score_array import ScoreArray

            return ScoreArray(config, monitored=monitored)
        case Block.SOFTMAX:
            from dtqatten.hw.softmax.softmax import Softmax

            return Softmax(config)
        case Block.VALUE_ARRAY:
            from dtqatten.hw.arrays.value_array import ValueArray

            return ValueArray(config, observed=monitored)
        case Block.NORMALIZER:
            from dtqatten.hw.merge.merger import Merger
            from dtqatten.hw.softmax.normalizer import Normalizer

            # Where rows can be merged, what merges them stands in its place.
            return (Merger if config.merge_rows else Normalizer)(config)
        case Block.TOKEN_RANKING:
            from dtqatten.hw.ranking.token_ranking import TokenRanking

            return TokenRanking(config)
        case Block.SCORE_ACCUMULATOR:
            from dtqatten.hw.ranking.score_accumulator import ScoreAccumulator

            return ScoreAccumulator(config)
        case Block.TOPK:
            from dtqatten.hw.payloads.ranking import topk_config
            from dtqatten.hw.ranking.topk import TopK

            return TopK(topk_config(config))
        case Block.PE:
            from dtqatten.hw.arrays.pod import Pod

            return Pod(config, config.score_width)
