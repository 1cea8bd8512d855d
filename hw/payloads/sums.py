"""Sizes of a row's sums: of exponentials, of its divisor, and of what segments merge into."""

from dtqatten.configuration.core import CODE_MIN, Config
from dtqatten.configuration.limits import EXPONENT_MAX

__all__ = [
    "EXPONENTIAL_BITS",
    "EXPONENT_BITS",
    "SINK_OCTAVES",
    "SINK_WEIGHT_BITS",
    "divided_bits",
    "divisor_bits",
    "merged_divisor_bits",
    "merged_lead",
    "row_divisor_bits",
    "sink_divisor_bits",
    "sum_bits",
    "top_code",
    "total_bits",
    "weight_fraction",
    "whole_sum_width",
]

#: Bits of an exponential ``e16`` and of a probability.
EXPONENTIAL_BITS = 16
#: Bits of the exponent of a tile of weights.
EXPONENT_BITS = EXPONENT_MAX.bit_length()
#: Most octaves that a sink counts as above a row's maximum, and bits of its exponential then.
SINK_OCTAVES = 29
SINK_WEIGHT_BITS = 17 + SINK_OCTAVES


def top_code(config: Config) -> int:
    """Weight of the row maximum: a 7 in each nibble, or a 15 where they are unsigned."""
    return {2: (119, 255), 3: (1911, 4095)}[config.planes][config.unsigned_weights]


def weight_fraction(config: Config) -> int:
    """Bits of a weight below a code: those that the exponents of tiles ask for."""
    return EXPONENT_MAX if config.block_exponents else 0


def sum_bits(config: Config, bits: int) -> int:
    """Bits of the sum of a row of unsigned values of ``bits`` bits."""
    return (config.n_max * ((1 << bits) - 1)).bit_length()


def total_bits(config: Config) -> int:
    """Bits of the sum of a row's exponentials, with its sink where there are sinks."""
    keys = config.n_max * ((1 << EXPONENTIAL_BITS) - 1)
    return (keys + config.sinks * (1 << SINK_WEIGHT_BITS - 1)).bit_length()


def _key_divisor(config: Config) -> int:
    """Return the largest ``16 * sum(p)`` or ``top * sum(e16) >> 12``, whichever is larger."""
    return config.n_max * 16 * top_code(config) + 1


def divisor_bits(config: Config) -> int:
    """Bits of what a row's keys add to its divisor."""
    return _key_divisor(config).bit_length()


def sink_divisor_bits(config: Config) -> int:
    """Bits of what a sink adds to a row's divisor, ``(top * e + 2**11) >> 12``."""
    return (top_code(config) << SINK_WEIGHT_BITS - 13).bit_length()


def row_divisor_bits(config: Config) -> int:
    """Bits of a row's divisor, with its sink where there are sinks."""
    sink = top_code(config) << SINK_WEIGHT_BITS - 13
    return (_key_divisor(config) + config.sinks * sink).bit_length()


def merged_lead(config: Config) -> int:
    """Lead of merged sums: 4 with weights of two planes, 0 with three."""
    return {2: 4, 3: 0}[config.planes]


def merged_divisor_bits(config: Config) -> int:
    """Bits of a divisor of as many keys as a cache has, without a sink."""
    return (config.positions * 16 * top_code(config) + 1).bit_length()


def divided_bits(config: Config) -> int:
    """Bits of what a row is divided by: its divisor, merged where segments are."""
    if not config.merge_rows:
        return row_divisor_bits(config)
    keys = config.positions * 16 * top_code(config) + 1
    return (keys + config.sinks * (top_code(config) << SINK_WEIGHT_BITS - 13)).bit_length()


def whole_sum_width(config: Config) -> int:
    """Bits of a signed sum ``P x V`` that is divided: a merged one where segments are."""
    if not config.merge_rows:
        return config.sum_width
    largest = config.positions * top_code(config) * -CODE_MIN << merged_lead(config)
    return max(config.sum_width, largest.bit_length() + 1)
