"""What the softmax unit takes and gives, besides rows: queries, keys, factors, records."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.golden.numerics.sinks import NO_SINK

__all__ = ["Bias", "HeadFactor", "Key", "OutputForm", "Query", "RowRecord", "Verdict", "bias_beats"]


@dataclass(frozen=True)
class Query:
    """A query: position, gain in 1/256, whether its weights are narrow; a gain may be ``negative``.

    Where query heads are grouped, also its head's ``multiplier``, ``shift`` and ``sink``; where
    tiles are skipped, ``last`` of the head; where their keys have biases, which ``member`` of the
    group its head is.
    """

    id: int
    gain: int
    narrow: bool = False
    multiplier: int | None = None
    shift: int | None = None
    sink: int = NO_SINK
    last: bool | None = None
    member: int = 0
    negative: bool = False


@dataclass(frozen=True)
class Key:
    """A key: token id, gain, the gain of its value, whether its weights are narrow; ``last``.

    As that of a query, its gain may be ``negative``.
    """

    id: int
    gain: int
    value_gain: int
    narrow: bool
    last: bool
    negative: bool = False


@dataclass(frozen=True)
class Bias:
    """Bias of a key for a query head; ``last`` of its keys; of all those of the ``head``."""

    bias: int
    last: bool
    head: bool


def bias_beats(biases: NDArray[np.integer]) -> list[Bias]:
    """Return the biases ``[members, n]`` of a head's keys as they are streamed."""
    members, keys = biases.shape
    return [
        Bias(int(bias), at == keys - 1, member == members - 1)
        for member, row in enumerate(biases)
        for at, bias in enumerate(row)
    ]


@dataclass(frozen=True)
class OutputForm:
    """Output of a head: 16 bits, or 8-bit ``codes`` of ``2**shift`` times the value."""

    codes: bool = False
    shift: int = 0


@dataclass(frozen=True)
class HeadFactor:
    """A head's factor from scores to exponents, its mask, its output and its sink.

    ``window`` is 0 for none. ``first_segment`` and ``last_segment``: whether its keys are the first
    and last ones of their rows, and ``restart``, whether the next head's rows are held from the
    first place on: a core that merges rows is told. ``progressive``: its row block comes twice, and
    rows whose exponentials sum to more than ``flat_sum`` the first time are flat. ``biased``: its
    keys have biases. ``share``: groups that its row block chooses before V comes, in 1/256; 0:
    none.
    """

    multiplier: int
    shift: int
    causal: bool
    output: OutputForm = OutputForm()
    window: int = 0
    sink: int = NO_SINK
    first_segment: bool = True
    last_segment: bool = True
    restart: bool = True
    progressive: bool = False
    flat_sum: int = 0
    biased: bool = False
    share: int = 0


@dataclass(frozen=True)
class Verdict:
    """What a trial tells of its row block: whether it has flat rows, and how many."""

    flat: bool
    rows: int


@dataclass(frozen=True)
class RowRecord:
    """What P x V of a row is divided by.

    Where rows can be merged, ``divisor`` is that of the keys alone, not inverted, and all from
    ``maximum`` on counts.
    """

    divisor: int
    mantissa: int
    exponent: int
    lead: int
    output: OutputForm
    last_row: bool
    last_block: bool
    maximum: int = 0
    multiplier: int = 0
    shift: int = 0
    sink: int = NO_SINK
    first_segment: bool = True
    last_segment: bool = True
    restart: bool = True

    @property
    def reciprocal(self) -> "RowRecord":
        """Mantissa and exponent, as the gateware groups them."""
        return self
