"""Memory layout of a layer: its bytes, and every burst that the machine reads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.golden.numerics.codes import IntArray, split
from dtqatten.golden.numerics.gains import SIGNED_STEP
from dtqatten.golden.numerics.local_values import tiling
from dtqatten.golden.numerics.order import aligned, alternate, boundaries, query_tile
from dtqatten.golden.numerics.softmax import Multiplier
from dtqatten.interface.descriptor import (
    BIAS_BYTES,
    ENTRY_BYTES,
    HEAD_BYTES,
    ID_BYTES,
    SIZE,
    Flag,
)
from dtqatten.interface.regions import query_rows, tensor_heads

__all__ = [
    "Burst",
    "bursts",
    "descriptor_reads",
    "gain_bytes",
    "head_table_bytes",
    "ideal_bytes",
    "layer_reads",
    "list_bytes",
    "runs",
    "tensor_bytes",
]


@dataclass(frozen=True)
class Burst:
    """A burst of ``beats`` beats of ``width`` bytes from ``address`` on, a multiple of it."""

    address: int
    beats: int
    width: int

    @property
    def size(self) -> int:
        """Bytes that it moves."""
        return self.beats * self.width


def tensor_bytes(codes: ArrayLike) -> bytes:
    """Lay a tensor out: ``[head][plane hi, lo][token][d/2 bytes]``, low nibble = lower channel.

    Parameters
    ----------
    codes : int array ``[heads, n, d]``
        Balanced 8-bit codes, ``d`` even.

    Raises
    ------
    ValueError
        If a code is out of range or the shape is not that.
    """
    array = np.asarray(codes)
    if array.ndim != 3 or array.shape[-1] % 2:
        raise ValueError(f"codes must be [heads, n, d] with d even, not of shape {array.shape}")
    nibbles = np.stack(split(array), axis=1).astype(np.uint8) & 15
    return (nibbles[..., ::2] | nibbles[..., 1::2] << 4).tobytes()


def gain_bytes(gains: ArrayLike, signed: bool) -> bytes:
    """Lay gains out, a byte each.

    Parameters
    ----------
    gains : int array
        1 to 255; with a sign even, from -254 to 254, and not 0.
    signed : bool
        Bit 7 is the sign, bits 6 to 0 are half the gain.

    Raises
    ------
    ValueError
        If a gain has no such byte.
    """
    array = np.asarray(gains).astype(np.int64)
    size = np.abs(array) // SIGNED_STEP if signed else array
    back = size * SIGNED_STEP * np.sign(array) if signed else array
    if (back != array).any() or size.min(initial=1) < 1 or size.max(initial=1) >> 8 - signed:
        limits = "even ones from -254 to 254 but 0" if signed else "1 to 255"
        raise ValueError(
            f"gains {array.min()} to {array.max()} have no byte, signed {signed}: give {limits}"
        )
    return (size | (array < 0) << 7).astype(np.uint8).tobytes()


def head_table_bytes(
    multipliers: ArrayLike,
    shifts: ArrayLike,
    sinks: ArrayLike | None = None,
    weights: Multiplier | None = None,
) -> bytes:
    """Lay out the factors ``multiplier * 2**-shift`` from scores to exponents, 8 bytes a head.

    ``sinks``, if there are any, are signed numbers of 16 bits; ``weights`` are those of outputs
    whose heads are ranked (:func:`dtqatten.golden.numerics.heads.head_weight`).
    """
    table = np.zeros((np.size(multipliers), ENTRY_BYTES // 2), "<u2")
    table[:, 0], table[:, 1] = multipliers, shifts
    if sinks is not None:
        table[:, 2] = np.asarray(sinks, "<i2").view("<u2")
    if weights is not None:
        table[:, 1] |= np.asarray(weights.shift, "<u2") << 8
        table[:, 3] = weights.m
    return table.tobytes()


def list_bytes(ids: ArrayLike) -> bytes:
    """Lay out a list of tokens, 16 bits an id."""
    return np.asarray(ids).astype("<u2").tobytes()


def runs(ids: ArrayLike) -> list[tuple[int, int]]:
    """Merge consecutive ids, as they are fetched, into runs ``(first id, tokens)``."""
    merged: list[tuple[int, int]] = []
    for token in np.asarray(ids).tolist():
        if merged and sum(merged[-1]) == token:
            merged[-1] = (merged[-1][0], merged[-1][1] + 1)
        else:
            merged.append((token, 1))
    return merged


def bursts(
    system: SystemConfig, address: int, size: int, narrow_transfers: bool = True
) -> Iterator[Burst]:
    """Cut ``size`` bytes into bursts, which end at multiples of ``burst_beats`` words.

    Parameters
    ----------
    system : SystemConfig
    address, size : int
        First byte; bytes.
    narrow_transfers : bool
        As reads: a first or last word of which half or less is wanted is a burst of its own, of one
        beat, as wide as the smallest aligned power of two of bytes that contains them.
    """
    width, end = system.bus_bytes, address + size
    while address < end:
        word = address // width
        if narrow_transfers and (address % width >= width // 2 or end - word * width <= width):
            last = min(end, (word + 1) * width) - 1
            part = 1 << (address ^ last).bit_length()
            yield Burst(address // part * part, 1, part)
            address = last + 1
            continue
        words = -(-end // width) - word
        if narrow_transfers and 0 < end % width <= width // 2:
            words -= 1
        beats = min(words, system.burst_beats - word % system.burst_beats)
        yield Burst(word * width, beats, width)
        address = (word + beats) * width


def descriptor_reads(system: SystemConfig, address: int) -> list[Burst]:
    """Return the bursts that read a ready descriptor: its head, then all of it."""
    return [burst for size in (HEAD_BYTES, SIZE) for burst in bursts(system, address, size)]


def layer_reads(
    system: SystemConfig,
    address: int,
    fields: Mapping[str, int],
    ids: ArrayLike | None = None,
    four_bit: int | None = None,
    heads: ArrayLike | None = None,
    flat: ArrayLike | None = None,
    chosen: ArrayLike | None = None,
) -> dict[ReadStream, list[Burst]]:
    """Return the bursts of each stream that a layer reads, in their order.

    A head of K and V that several query heads share is read once, and so are its gains. Low planes
    are read of 8-bit tokens and of those 4-bit ones that share a tile with them
    (:func:`dtqatten.golden.numerics.order.boundaries`). Row blocks of 4-bit and of 8-bit queries
    alternate (:func:`dtqatten.golden.numerics.order.alternate`). Of grouped query heads, each query
    has a row for each head of the group.

    Parameters
    ----------
    system : SystemConfig
    address : int
        Where the descriptor is.
    fields : mapping
        Fields of the descriptor.
    ids : int array ``[tokens]``, optional
        Places of the keys, 4-bit class first, and of chained queries; all in order if None.
    four_bit : int, optional
        Tokens of the 4-bit class, if they are chained; else the descriptor's.
    heads : int array ``[heads]``, optional
        Heads that the layer before kept, ascending, if they are chained.
    flat : bool array ``[kv_heads]``, optional
        Of a progressive layer, which of the heads of K that are computed have a flat row.
    chosen : bool array ``[kv_heads, groups]``, optional
        Of a layer with CHOSEN_VALUES, the groups of keys whose V each head that is computed needs
        (:func:`dtqatten.golden.numerics.local_values.fetched`): runs end where groups do.

    Raises
    ------
    ValueError
        If what is chained is missing.
    """
    flags, core = Flag(fields["flags"]), system.core
    tokens, queries = fields["tokens"], fields["queries"]
    if ids is None:
        places = fields.get("key_start", 0) + np.arange(tokens)
    elif four_bit is None and Flag.CHAINED in flags:
        raise ValueError("chained ids without the number of those in 4 bits")
    else:
        places = np.asarray(ids)
    edges = boundaries(
        fields["four_bit"] if four_bit is None else four_bit,
        tokens,
        core.rows,
        core.cols,
        core.group,
    )
    chained = Flag.QUERY_CHAINED in flags
    group = fields["heads"] // fields["kv_heads"] if Flag.GROUPED in flags else 1
    rows = places if chained else np.arange(queries * group)
    edge = edges.q
    if not chained:
        edge = group * aligned(fields["query_four_bit"], queries, query_tile(core.rows, group))
    if heads is None and Flag.HEADS_CHAINED in flags:
        raise ValueError("chained heads without what they are")
    if flat is None and Flag.PROGRESSIVE in flags:
        raise ValueError("a progressive layer without what heads are flat")
    if chosen is None and Flag.CHOSEN_VALUES in flags:
        raise ValueError("a layer that reads chosen values without what is chosen")
    own = np.arange(fields["heads"] // group) if heads is None else np.asarray(heads)
    shared = np.arange(fields["kv_heads"]) if heads is None else own
    tensors = (
        ("q", own, query_rows(fields) * group, rows, edge),
        ("k", shared, fields["capacity"], places, edges.k),
        ("v", shared, fields["capacity"], places, edges.v),
    )
    found: dict[ReadStream, list[Burst]] = {
        ReadStream.DESCRIPTOR: descriptor_reads(system, address),
        ReadStream.HEAD_TABLE: list(
            bursts(system, fields["head_table"], ENTRY_BYTES * tensor_heads(fields)[0])
        ),
        ReadStream.LISTS: [
            burst
            for name, flag, count in (
                ("query_list", Flag.QUERY_LIST, queries),
                ("key_list", Flag.KEY_LIST, tokens),
            )
            if flag in flags
            for burst in bursts(system, fields[name], ID_BYTES * count)
        ],
    }

    def vectors(base: int, own: IntArray, pitch: int, wanted: IntArray, size: int) -> list[Burst]:
        """Read ``size`` bytes of each token of each head, ``pitch`` bytes a head."""
        return [
            burst
            for head in own.tolist()
            for first, count in runs(wanted)
            for burst in bursts(system, base + head * pitch + first * size, count * size)
        ]

    found[ReadStream.KEY_BIAS] = []
    if Flag.KEY_BIAS in flags:
        every = np.arange(fields["heads"]) if heads is None else own
        pitch = BIAS_BYTES * fields["capacity"]
        biases = vectors(fields["key_bias"], every, pitch, places, BIAS_BYTES)
        found[ReadStream.KEY_BIAS] = biases
    found[ReadStream.IMPORTANCE] = []
    if Flag.HELD in flags:
        found[ReadStream.IMPORTANCE] = vectors(fields["held"], np.arange(1), 0, places, 4)
    for (name, which, capacity, wanted, wide), high, gains, flag in zip(
        tensors,
        (ReadStream.Q_HIGH, ReadStream.K_HIGH, ReadStream.V_HIGH),
        (ReadStream.Q_GAINS, ReadStream.K_GAINS, ReadStream.V_GAINS),
        (Flag.Q_GAINS, Flag.K_GAINS, Flag.V_GAINS),
        strict=True,
    ):
        size = system.plane_bytes
        plane = capacity * size
        in_order = wanted[alternate(wide, len(rows), core.rows)] if name == "q" else wanted
        found[high] = vectors(fields[name], which, 2 * plane, in_order, size)
        lows, low = which, wanted[wide:]
        if name == "k" and flat is not None:
            lows, low = which[np.asarray(flat)], wanted
        found[ReadStream(high + 1)] = vectors(fields[name] + plane, lows, 2 * plane, low, size)
        if name == "v" and chosen is not None:
            groups = tiling(1, 1, tokens, (1, core.cols, core.group)).groups
            for low_plane in (False, True):
                slots = np.arange(wide if low_plane else 0, tokens)
                found[ReadStream(high + low_plane)] = [
                    burst
                    for head, kept in zip(which, np.asarray(chosen), strict=True)
                    for group in np.flatnonzero(kept)
                    for burst in vectors(
                        fields[name] + low_plane * plane,
                        np.array([head]),
                        2 * plane,
                        wanted[slots[groups[slots] == group]],
                        size,
                    )
                ]
        base = fields.get(f"{name}_gains", 0)
        found[gains] = vectors(base, which if flag in flags else which[:0], capacity, wanted, 1)
    return found


def ideal_bytes(
    system: SystemConfig, fields: Mapping[str, int], four_bit: int | None = None
) -> int:
    """Bytes of Q, K and V that a layer needs: ``d/2`` of a 4-bit token, ``d`` of an 8-bit one.

    Parameters
    ----------
    system : SystemConfig
    fields : mapping
        Fields of the descriptor.
    four_bit : int, optional
        Tokens of the 4-bit class, if they are chained; else the descriptor's.
    """
    keys = fields["four_bit"] if four_bit is None else four_bit
    queries = keys if fields["flags"] & Flag.QUERY_CHAINED else fields["query_four_bit"]
    planes = (2 * fields["queries"] - queries) * fields["heads"]
    planes += (2 * fields["tokens"] - keys) * 2 * fields["kv_heads"]
    return planes * system.plane_bytes
