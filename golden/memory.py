"""Memory layout of a layer: its bytes, and every burst that the machine reads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.golden.numerics.codes import split
from dtqatten.golden.numerics.order import alternate, boundaries
from dtqatten.interface.descriptor import HEAD_BYTES, SIZE, Flag

__all__ = [
    "Burst",
    "bursts",
    "descriptor_reads",
    "head_table_bytes",
    "ideal_bytes",
    "layer_reads",
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


def head_table_bytes(multipliers: ArrayLike, shifts: ArrayLike) -> bytes:
    """Lay out the factors ``multiplier * 2**-shift`` from scores to exponents, 4 bytes a head."""
    table = np.zeros((np.size(multipliers), 2), "<u2")
    table[:, 0], table[:, 1] = multipliers, shifts
    return table.tobytes()


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
) -> dict[ReadStream, list[Burst]]:
    """Return the bursts of each stream that a layer reads, in their order.

    A head of K and V that several query heads share is read once. Low planes are read of 8-bit
    tokens and of those 4-bit ones that share a tile with them
    (:func:`dtqatten.golden.numerics.order.boundaries`). Row blocks of 4-bit and of 8-bit queries
    alternate (:func:`dtqatten.golden.numerics.order.alternate`).

    Parameters
    ----------
    system : SystemConfig
    address : int
        Where the descriptor is.
    fields : mapping
        Fields of the descriptor.
    ids : int array ``[tokens]``, optional
        Rows of the tensors to compute on, 4-bit class first; all in order if None.
    four_bit : int, optional
        Tokens of the 4-bit class; the descriptor's if ``ids`` is None.
    """
    flags, stored, tokens = Flag(fields["flags"]), fields["stored"], fields["tokens"]
    core = system.core
    if ids is None:
        rows, four_bit = np.arange(tokens), fields["four_bit"]
    elif four_bit is None:
        raise ValueError("ids without the number of those in 4 bits")
    else:
        rows = np.asarray(ids)
    edges = boundaries(four_bit, tokens, core.rows, core.cols, core.group)
    size = system.plane_bytes
    found: dict[ReadStream, list[Burst]] = {
        ReadStream.DESCRIPTOR: descriptor_reads(system, address),
        ReadStream.HEAD_TABLE: list(bursts(system, fields["head_table"], 4 * fields["heads"])),
    }
    queries = rows[alternate(edges.q, tokens, core.rows)]
    for name, heads, high, in_order, edge in (
        ("q", fields["heads"], ReadStream.Q_HIGH, queries, edges.q),
        ("k", fields["kv_heads"], ReadStream.K_HIGH, rows, edges.k),
        ("v", fields["kv_heads"], ReadStream.V_HIGH, rows, edges.v),
    ):
        for plane, wanted in ((0, in_order), (1, rows[edge:])):
            found[ReadStream(high + plane)] = [
                burst
                for head in range(heads)
                for first, count in runs(wanted)
                for burst in bursts(
                    system,
                    fields[name] + ((2 * head + plane) * stored + first) * size,
                    count * size,
                )
            ]
    for name, heads, gains, flag in (
        ("q_gains", fields["heads"], ReadStream.Q_GAINS, Flag.Q_GAINS),
        ("k_gains", fields["kv_heads"], ReadStream.K_GAINS, Flag.K_GAINS),
        ("v_gains", fields["kv_heads"], ReadStream.V_GAINS, Flag.V_GAINS),
    ):
        found[gains] = [
            burst
            for head in range(fields["heads"] if flag in flags else 0)
            for burst in bursts(
                system, fields[name] + head * heads // fields["heads"] * stored, stored
            )
        ]
    return found


def ideal_bytes(system: SystemConfig, fields: Mapping[str, int], four_bit: int) -> int:
    """Bytes of Q, K and V that a layer needs: ``d/2`` of a 4-bit token, ``d`` of an 8-bit one."""
    token_bytes = (2 * fields["tokens"] - four_bit) * system.plane_bytes
    return token_bytes * (fields["heads"] + 2 * fields["kv_heads"])
