"""Segments of a row of keys: partial results, their merge, and what a sink adds at the end.

A row of more than ``KEYS_MAX`` keys is cut into segments, runs of consecutive places in the list
of keys. Each gives a partial result relative to its own maximum, as a whole row does. The partial
results are accumulated one at a time: :func:`merge` keeps the larger maximum and scales the sums of
the other side down. One factor a row scales them, one multiplier a channel does it. Segments are
computed and merged in an order of their own, :func:`longest_first` in a layer call.

Shapes: a row is one of ``[..., heads, n_q]``; sums have a last axis of channels.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from dtqatten.golden.numerics.codes import IntArray
from dtqatten.golden.numerics.masks import IDS_MAX
from dtqatten.golden.numerics.softmax import FRACTION_BITS, KEYS_MAX, octave_table

__all__ = [
    "FACTOR_BITS",
    "MERGE_FRACTION",
    "OCTAVES",
    "POWERS",
    "Partial",
    "RowScale",
    "aligned",
    "distance",
    "equal_cuts",
    "longest_first",
    "merge",
    "merged_lead",
    "scaled",
]

#: Fraction bits of a distance between maxima, in octaves.
MERGE_FRACTION = 8
#: Fraction bits of a factor: 2**16 is one.
FACTOR_BITS = 16
#: A factor is 0 from this many octaves on: 65,536 keys together then weigh 2**-16 of one.
OCTAVES = 32
#: ``POWERS[i] = round(2**(16 - (i + 0.5)/256))``, but ``POWERS[0] = 65536``: 16 bits and that one.
POWERS = octave_table(1 << FACTOR_BITS, MERGE_FRACTION)


@dataclass(frozen=True, eq=False)
class RowScale:
    """What turns differences of scores into distances of exponents.

    Parameters
    ----------
    factor : int array ``[..., heads, n_q]``
        Multiplier of each row, 16 bits.
    shift : int array ``[..., heads]``
        Right shift of each head, 0 to 40.
    """

    factor: IntArray
    shift: IntArray


@dataclass(frozen=True, eq=False)
class Partial:
    """Result of each row over some of its keys.

    Parameters
    ----------
    maximum : int64 array ``[..., heads, n_q]``
        Largest gained score, 23 bits signed.
    total : int64 array ``[..., heads, n_q]``
        Sum of exponentials relative to ``maximum``: 26 bits for 1024 keys, 32 for 65,536. 0 exactly
        where a row sees none of the keys; the other fields then have no meaning but 0.
    divisor : int64 array ``[..., heads, n_q]``
        Sum of weights at ``lead`` 0, in 1/16 of a code: 27 bits for 65,536 keys, 31 with weights of
        three planes; one more with unsigned ones.
    lead : int64 array ``[..., heads, n_q]``
        Left shift of ``sums``, 0 to 8; 3 to 11 where tiles have exponents.
    sums : int64 array ``[..., heads, n_q, d]``
        P x V: 25 bits signed, 29 with three planes, for 1024 keys; 35 for a merged one; one more
        with unsigned weights, three more, of one segment, where tiles have exponents.
    """

    maximum: IntArray
    total: IntArray
    divisor: IntArray
    lead: IntArray
    sums: IntArray


def equal_cuts(n: int, length: int = KEYS_MAX) -> tuple[int, ...]:
    """Places at which segments of ``length`` keys begin, besides 0; the last one has the rest.

    Raises
    ------
    ValueError
        If ``n`` is outside 1..65,536, or ``length`` outside 1..1024.
    """
    if not 1 <= n <= IDS_MAX:
        raise ValueError(f"n is {n}, outside 1..{IDS_MAX}: a cache has no more tokens")
    if not 1 <= length <= KEYS_MAX:
        raise ValueError(f"length is {length}, outside 1..{KEYS_MAX}: use shorter segments")
    return tuple(range(length, n, length))


def longest_first(n: int, four_bit: int, length: int = KEYS_MAX) -> tuple[int, ...]:
    """Numbers of the segments of :func:`equal_cuts` in the order in which they are computed.

    The one with most nibbles comes first, of equals the first one of the list. P x V of a segment
    runs beside the next one's loads, but nothing runs beside that of the last, which has fewest.

    Parameters
    ----------
    n, four_bit : int
        Keys of the list, of which the first ones have 4 bits.
    length : int
        Most keys of a segment.
    """
    ends = [0, *equal_cuts(n, length), n]
    nibbles = [2 * (b - a) - max(min(four_bit, b) - a, 0) for a, b in itertools.pairwise(ends)]
    return tuple(sorted(range(len(nibbles)), key=lambda i: -nibbles[i]))


def distance(difference: IntArray, scale: RowScale) -> IntArray:
    """Distance in the exponent, in 1/256 octaves: ``u = ((difference * M_i) << 3) >> shift``.

    The exponent of :func:`~dtqatten.golden.numerics.softmax.exponent` with three more bits of
    fraction, rounded down: the difference has 23 bits, the product 39, shifted 42.
    """
    more = MERGE_FRACTION - FRACTION_BITS
    return ((difference * scale.factor) << more) >> scale.shift[..., None]


def scaled(values: IntArray, u: IntArray, left: IntArray | int = 0) -> IntArray:
    """Scale by ``2**(left - u/256)``: ``(x * F + (1 << r >> 1)) >> r``, ``r = 16 + o - left``.

    ``F = POWERS[u & 255]`` and ``o = u >> 8``; 0 from 32 octaves on. Rounded half up, once: the
    product has 17 bits more than ``values``.

    Parameters
    ----------
    values : int array
    u : int array
        Distances, not negative, of the shape of ``values``.
    left : int array or int
        Further left shift, -11 to 4: :func:`merged_lead` less the lead of ``values``. It is below
        -8 where tiles have exponents and weights three planes.
    """
    octave = np.minimum(u >> MERGE_FRACTION, OCTAVES)
    right = FACTOR_BITS + octave - left
    product = values * POWERS[u & ((1 << MERGE_FRACTION) - 1)]
    return np.where(octave < OCTAVES, (product + (np.int64(1) << (right - 1))) >> right, 0)


def merged_lead(planes: int) -> int:
    """Lead of merged sums: 4 with weights of two planes, 0 with three.

    The last bit of a sum is then less than 1/7 of a unit of the 16-bit output, so that rounding it
    in a merge does not show.
    """
    return 4 if planes == 2 else 0


def merge(a: Partial, b: Partial, scale: RowScale, planes: int = 2) -> Partial:
    """Join what was accumulated so far, ``a``, with the next segment's result, ``b``.

    Each row keeps the larger maximum. With ``u`` the :func:`distance` of both maxima, total and
    divisor of the other side are :func:`scaled` by ``2**(-u/256)`` and added. Sums of both sides
    are brought to lead :func:`merged_lead` on the way: each is rounded once, half up, or not at
    all. A side that saw no key changes nothing, not even the lead. Equal maxima are joined without
    scaling. Neither side is preferred, so two results can be exchanged; three or more depend on
    their order in their last bits.

    Parameters
    ----------
    a, b : Partial
    scale : RowScale
    planes : int
        Nibbles of a weight, 2 or 3.
    """
    top = np.maximum(a.maximum, b.maximum)
    lead = merged_lead(planes)
    total: IntArray = np.zeros_like(top)
    divisor: IntArray = np.zeros_like(top)
    sums: IntArray = np.zeros_like(a.sums)
    for side in (a, b):
        u = distance(top - side.maximum, scale)
        total = total + scaled(side.total, u)
        divisor = divisor + scaled(side.divisor, u)
        sums = sums + scaled(side.sums, u[..., None], (lead - side.lead)[..., None])
    joined = Partial(top, total, divisor, np.full_like(top, lead), sums)
    return _where(a.total == 0, b, _where(b.total == 0, a, joined))


def _where(rows: IntArray, a: Partial, b: Partial) -> Partial:
    """Take ``rows`` from ``a``, all others from ``b``."""
    return Partial(
        np.where(rows, a.maximum, b.maximum),
        np.where(rows, a.total, b.total),
        np.where(rows, a.divisor, b.divisor),
        np.where(rows, a.lead, b.lead),
        np.where(rows[..., None], a.sums, b.sums),
    )


def aligned(e16: IntArray, maximum: IntArray, top: IntArray, scale: RowScale) -> IntArray:
    """Bring a segment's exponentials to the maximum of all segments, for importance.

    ``(e * F + (1 << r >> 1)) >> r`` with the distance from ``maximum`` to ``top``, 16 bits, rounded
    half up. One factor takes them there, not one for each merge since.

    Parameters
    ----------
    e16 : int array ``[..., heads, n_q, n_k]``
        Exponentials relative to ``maximum``, as they are kept until a row is complete.
    maximum, top : int array ``[..., heads, n_q]``
    scale : RowScale
    """
    # Without keys the maximum has no meaning, and may be above.
    u = distance(np.maximum(top - maximum, 0), scale)
    # Distance 0 changes nothing: a row of one segment need not be multiplied.
    return scaled(e16, u[..., None]) if u.any() else e16
