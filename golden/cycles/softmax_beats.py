"""What the softmax unit takes and gives, besides rows: queries, keys, factors, records."""

from dataclasses import dataclass

__all__ = ["HeadFactor", "Key", "OutputForm", "Query", "RowRecord"]


@dataclass(frozen=True)
class Query:
    """A query: token id, gain in 1/256, whether its weights are narrow."""

    id: int
    gain: int
    narrow: bool = False


@dataclass(frozen=True)
class Key:
    """A key: token id, gain, the gain of its value, whether its weights are narrow; ``last``."""

    id: int
    gain: int
    value_gain: int
    narrow: bool
    last: bool


@dataclass(frozen=True)
class OutputForm:
    """Output of a head: 16 bits, or 8-bit ``codes`` of ``2**shift`` times the value."""

    codes: bool = False
    shift: int = 0


@dataclass(frozen=True)
class HeadFactor:
    """A head's factor from scores to exponents, whether its mask is causal, and its output."""

    multiplier: int
    shift: int
    causal: bool
    output: OutputForm = OutputForm()


@dataclass(frozen=True)
class RowRecord:
    """What P x V of a row is divided by."""

    divisor: int
    mantissa: int
    exponent: int
    lead: int
    output: OutputForm
    last_row: bool
    last_block: bool

    @property
    def reciprocal(self) -> "RowRecord":
        """Mantissa and exponent, as the gateware groups them."""
        return self
