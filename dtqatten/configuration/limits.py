"""Limits of sizes that concern each other."""

from typing import TYPE_CHECKING

from dtqatten.configuration.fields import ConfigError, integer, power_of_two

if TYPE_CHECKING:
    from dtqatten.configuration.core import Config

__all__ = [
    "BIAS_HEADS_MAX",
    "EXPONENT_MAX",
    "IMPORTANCE_ROWS",
    "POSITIONS_MAX",
    "PRUNED_HEADS_MAX",
    "check_ranges",
    "check_together",
]

#: Largest exponent of a tile's weights: as many bits of a weight are below a code.
EXPONENT_MAX = 3

#: Most tokens of a cache: positions have 16 bits.
POSITIONS_MAX = 65536

#: Most heads of a machine that prunes them: it holds which are left, a bit each.
PRUNED_HEADS_MAX = 64

#: Most query heads of a head of the core whose keys have biases.
BIAS_HEADS_MAX = 64

#: Rows of 16-bit probabilities whose sum is certain to fit the 32 bits of an importance.
IMPORTANCE_ROWS = (2**32 - 1) // (2**16 - 1)


def check_ranges(config: "Config") -> None:
    """Check each number of a configuration against its own range.

    Parameters
    ----------
    config : Config

    Raises
    ------
    ConfigError
        If one is outside; the message names value, limit and way out.
    """
    for name, low, high in (
        ("rows", 1, 64),
        ("cols", 1, 128),
        ("depth", 1, 128),
        ("pod_cols", 1, 128),
        ("d_head", 8, 256),
        ("n_max", 1, 1024),
        ("product_stages", 1, 2),
        ("planes", 2, 3),
        ("heads", 1, IMPORTANCE_ROWS),
        ("merge_rows", 0, 4096),
        ("bias_heads", 0, BIAS_HEADS_MAX),
    ):
        integer(config, name, low, high)
    integer(config, "value_depth", 1, 128, optional=True)
    integer(config, "capacity", 1, POSITIONS_MAX, optional=True)
    integer(config, "normalizer_lanes", 1, 128, optional=True)
    power_of_two(config, "topk_lanes", 1, 64)
    power_of_two(config, "load_bits", 16, 1024)
    power_of_two(config, "value_load_bits", 16, 1024, optional=True)


def check_together(config: "Config") -> None:
    """Check the fields of a configuration against each other; each is in its own range.

    Parameters
    ----------
    config : Config

    Raises
    ------
    ConfigError
        If they cannot work together; the message names value, limit and way out.
    """
    if config.d_head % 8:
        down, up = config.d_head // 8 * 8, config.d_head // 8 * 8 + 8
        raise ConfigError(
            f"d_head is {config.d_head}, not a multiple of 8: pad the heads with zero channels "
            f"to {up}" + (f", or use {down}" if down else "")
        )
    if config.d_head % config.depth:
        divisors = [d for d in range(1, config.d_head + 1) if config.d_head % d == 0]
        near = max(d for d in divisors if d <= config.depth)
        raise ConfigError(
            f"depth is {config.depth}, which does not divide d_head = {config.d_head}: "
            f"use {near} (every divisor works: {', '.join(map(str, divisors))})"
        )
    if config.cols % config.pod_cols:
        divisors = [n for n in range(1, config.cols + 1) if config.cols % n == 0]
        raise ConfigError(
            f"pod_cols is {config.pod_cols}, which does not divide cols = {config.cols}: a row has "
            f"whole pods; use one of {', '.join(map(str, divisors))}"
        )
    if config.output_lanes > config.cols:
        raise ConfigError(
            f"normalizer_lanes is {config.normalizer_lanes}, above cols = {config.cols}: a row of "
            f"sums has that many channels; use at most {config.cols}"
        )
    # Beyond these, elaboration takes minutes and a monitored array's ports exceed the 65536
    # bits that Amaranth can express.
    deeper = "depth" if config.depth >= config.group else "value_depth"
    deepest = max(config.depth, config.group)
    for what, value, limit in (
        (f"rows * cols * {deeper} (multipliers)", config.rows * config.cols * deepest, 32768),
        ("rows * cols (PEs)", config.rows * config.cols, 2048),
        (f"cols * {deeper} (operands of a step)", config.cols * deepest, 8192),
    ):
        if value > limit:
            raise ConfigError(f"{what} is {value}, above {limit}: use several smaller arrays")
    if config.heads * config.n_max > IMPORTANCE_ROWS:
        raise ConfigError(
            f"heads * n_max is {config.heads * config.n_max}, above {IMPORTANCE_ROWS}, the rows "
            f"whose importance fits 32 bits: use at most {IMPORTANCE_ROWS // config.n_max} heads"
        )
    if config.positions < config.n_max:
        raise ConfigError(
            f"capacity is {config.capacity}, below n_max = {config.n_max}: a cache holds at least "
            "the tokens of a head"
        )
    if config.held_importance and config.merge_rows:
        raise ConfigError(
            f"held_importance is True with merge_rows = {config.merge_rows}: rows of several "
            "segments have no importance; leave one of the two out"
        )
    if config.progressive and config.merge_rows:
        raise ConfigError(
            f"progressive is True with merge_rows = {config.merge_rows}: whether a row of several "
            "segments is flat is known when its last one is computed; leave one of the two out"
        )
    if config.local_values and not config.skip_tiles:
        raise ConfigError(
            "local_values is True without skip_tiles: row blocks list the groups of values that "
            "they multiply only where they list their tiles; set skip_tiles too"
        )
    members = config.heads if config.grouped else 1
    if config.bias_heads > members:
        raise ConfigError(
            f"bias_heads is {config.bias_heads}, above {members}, the query heads that a head of "
            "the core can have: use at most that, or set grouped and more heads"
        )
    if config.chosen_values:
        _check_chosen_values(config)
    if config.head_pruning:
        _check_head_pruning(config)
    if config.grouped and config.count_normalize:
        raise ConfigError(
            "count_normalize is True with grouped: queries are counted in one query head, and "
            "those that share a head of K and V are not told apart; leave one of the two out"
        )


def _check_chosen_values(config: "Config") -> None:
    """Check what V of chosen groups needs, and what it cannot be combined with.

    Raises
    ------
    ConfigError
        If something is missing, or it is combined.
    """
    if not config.local_values:
        raise ConfigError(
            "chosen_values is True without local_values: V that comes after a choice needs one; "
            "set local_values too"
        )
    if config.merge_rows:
        raise ConfigError(
            f"chosen_values is True with merge_rows = {config.merge_rows}: rows of several "
            "segments choose anew in each, and are fetched whole; leave one of the two out"
        )


def _check_head_pruning(config: "Config") -> None:
    """Check what head pruning cannot be combined with.

    Raises
    ------
    ConfigError
        If it is.
    """
    if config.heads > PRUNED_HEADS_MAX:
        raise ConfigError(
            f"heads is {config.heads} with head_pruning, above {PRUNED_HEADS_MAX}: use at most "
            f"{PRUNED_HEADS_MAX} heads, or leave it out"
        )
    if config.grouped:
        raise ConfigError(
            "head_pruning is True with grouped: query heads that share a head of K and V are one "
            "head of the core, and are not pruned one by one; leave one of the two out"
        )
    if config.merge_rows:
        raise ConfigError(
            f"head_pruning is True with merge_rows = {config.merge_rows}: outputs of several "
            "segments come when their last one is computed; leave one of the two out"
        )
