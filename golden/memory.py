"""Memory layout of a layer: its bytes, and exactly what the machine reads and in which bursts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.descriptor import SIZE, Flag
from dtqatten.golden.codes import split
from dtqatten.golden.order import boundaries
from dtqatten.system_config import ReadStream, SystemConfig

__all__ = [
    "Burst",
    "bursts",
    "head_table_bytes",
    "ideal_bytes",
    "layer_reads",
    "remaining_runs",
    "runs",
    "tensor_bytes",
]


@dataclass(frozen=True)
class Burst:
    """A read of ``beats`` words of the bus; ``address`` is that of its first word."""

    address: int
    beats: int


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


def runs(ids: ArrayLike, four_bit: int) -> list[tuple[int, int]]:
    """Merge consecutive ids of a class into runs ``(first id, tokens)``.

    ``ids`` are in the order of the slots, the first ``four_bit`` of them the 4-bit class.
    """
    merged: list[tuple[int, int]] = []
    for slot, token in enumerate(np.asarray(ids).tolist()):
        if merged and slot != four_bit and sum(merged[-1]) == token:
            merged[-1] = (merged[-1][0], merged[-1][1] + 1)
        else:
            merged.append((token, 1))
    return merged


def bursts(system: SystemConfig, address: int, size: int) -> Iterator[Burst]:
    """Cut ``size`` bytes into bursts, which end at multiples of ``burst_beats`` words."""
    word, end = address // system.bus_bytes, -(-(address + size) // system.bus_bytes)
    while word < end:
        beats = min(end - word, system.burst_beats - word % system.burst_beats)
        yield Burst(word * system.bus_bytes, beats)
        word += beats


def layer_reads(
    system: SystemConfig,
    address: int,
    fields: Mapping[str, int],
    ids: ArrayLike | None = None,
    four_bit: int | None = None,
) -> dict[ReadStream, list[Burst]]:
    """Return the bursts of each stream that a layer reads, in their order.

    K and V of a group of query heads are read once. The low plane is read of the 8-bit tokens
    and of those 4-bit ones that share a tile with them
    (:func:`dtqatten.golden.order.boundaries`).

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
        # One class or two, the tokens are consecutive.
        wanted, narrow = [(0, tokens)], fields["four_bit"]
    else:
        if four_bit is None:
            raise ValueError("ids without the number of those in 4 bits")
        wanted, narrow = runs(ids, four_bit), four_bit
    edges = boundaries(narrow, tokens, core.rows, core.cols, core.group)
    size = system.plane_bytes
    found: dict[ReadStream, list[Burst]] = {
        ReadStream.DESCRIPTOR: list(bursts(system, address, SIZE)),
        ReadStream.HEAD_TABLE: list(bursts(system, fields["head_table"], 4 * fields["heads"])),
    }
    for name, heads, high, edge in (
        ("q", fields["heads"], ReadStream.Q_HIGH, edges.q),
        ("k", fields["kv_heads"], ReadStream.K_HIGH, edges.k),
        ("v", fields["kv_heads"], ReadStream.V_HIGH, edges.v),
    ):
        for plane, skipped in ((0, 0), (1, edge)):
            found[ReadStream(high + plane)] = [
                burst
                for head in range(heads)
                for first, count in remaining_runs(wanted, skipped)
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


def remaining_runs(wanted: list[tuple[int, int]], skipped: int) -> Iterator[tuple[int, int]]:
    """Yield what is left of runs ``(first id, tokens)`` without their first ``skipped`` tokens."""
    for first, count in wanted:
        drop = min(skipped, count)
        skipped -= drop
        if count > drop:
            yield first + drop, count - drop


def ideal_bytes(system: SystemConfig, fields: Mapping[str, int], four_bit: int) -> int:
    """Bytes of Q, K and V that a layer needs: ``d/2`` of a 4-bit token, ``d`` of an 8-bit one."""
    token_bytes = (2 * fields["tokens"] - four_bit) * system.plane_bytes
    return token_bytes * (fields["heads"] + 2 * fields["kv_heads"])
