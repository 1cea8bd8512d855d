"""Published machines as cycle models on a :class:`~dtqatten.model.workload.Workload`.

Each is an upper bound of what its paper describes: no stall beyond the ones it names, no wait for
memory. ``tests/model/test_peers.py`` holds each to its paper's own headline within the error that
``error`` states. Sources: [DTQ] DTQAtten, DATE 2022, its talk and tables; [SpA] SpAtten, HPCA 2021;
[A3] A3, HPCA 2020; [MNN] MNNFast, ISCA 2019; [Eye] Eyeriss, JSSC 2017. Throughput, energy and area
of A3, MNNFast and SpAtten-1/8 are those that [SpA] and [DTQ] print side by side at 40 nm, 1 GHz.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dtqatten.configuration.core import Config, Schedule
from dtqatten.golden.cycles.tile_costs import tile_costs
from dtqatten.golden.numerics.order import Order, arrange
from dtqatten.model.workload import Workload

__all__ = ["EYERISS", "PEERS", "Peer", "systolic_cycles"]

#: Multipliers of the published machine, and PEs of the tile whose stalls its paper counts.
DTQATTEN_MULTIPLIERS, TILE = 3168, 3


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A machine that somebody published.

    Attributes
    ----------
    name : str
    cycles : callable
        Cycles of a head of a workload.
    multipliers, bits : int
        Multipliers, and bits of their operands.
    assumptions : str
        Assumptions of the model.
    headline : str
        Figure of its paper that the model is tested against.
    error : float
        By how much the model misses that claim at most, relative.
    gops, gops_per_joule, mm2 : float or None
        As published, at 40 nm; MNNFast's on an FPGA of 28 nm.
    """

    name: str
    cycles: Callable[[Workload], float]
    multipliers: int | None
    bits: int | None
    assumptions: str
    headline: str
    error: float
    gops: float | None = None
    gops_per_joule: float | None = None
    mm2: float | None = None

    def modelled_gops(self, workload: Workload, ghz: float = 1.0) -> float:
        """Return operations of the original model per ns: two a multiply-accumulate."""
        return 2 * workload.macs / self.cycles(workload) * ghz


def dense(multipliers: int) -> Callable[[Workload], float]:
    """Return a model that computes every product of the original model, one a multiplier."""
    return lambda workload: workload.macs / multipliers


def throughput(gops: float) -> Callable[[Workload], float]:
    """Return a model with a given throughput of the original model's operations at 1 GHz."""
    return lambda workload: 2 * workload.macs / gops


def pruned_keys(multipliers: int) -> Callable[[Workload], float]:
    """Return a model in which every query meets the keys and values that are kept."""
    return lambda workload: workload.macs * sum(workload.kept) / workload.tokens / multipliers


def systolic_cycles(workload: Workload, order: Order) -> float:
    """Return cycles of the published 3168 multipliers as arrays of 3 x 3 in some token order.

    Both products are taken for one kind: queries, keys, weights and values have their token's
    precision, and a tile lasts as long as its slowest PE. 8-bit tokens are spread at random
    (one seed); in an ideal order, ``Order.ALIGNED``, no PE ever waits.
    """
    n4, n8 = workload.kept
    if order is Order.ALIGNED:
        return 2 * workload.products[0] / DTQATTEN_MULTIPLIERS
    bits = np.random.default_rng(0).permutation(np.repeat([4, 8], [n4, n8]))
    _, q_bits, k_bits = arrange(bits, order, TILE, TILE)
    config = Config(
        rows=TILE, cols=TILE, depth=1, d_head=workload.d_head, schedule=Schedule.INTERLEAVED
    )
    costs = tile_costs(config, q_bits == 8, k_bits == 8)
    return 2 * float(costs.cycles.sum()) * TILE**2 / DTQATTEN_MULTIPLIERS


#: Reference of speedups.
EYERISS = Peer(
    name="Eyeriss-like",
    cycles=dense(224),
    multipliers=224,
    bits=16,
    assumptions="224 multipliers, each busy with a product of the dense model in every cycle",
    headline="168 PEs at 200 MHz: 35 frames/s on AlexNet's convolutions [Eye]",
    # Cycles that the chip loses to filling its array and to loading.
    error=0.45,
)

PEERS = (
    EYERISS,
    Peer(
        name="systolic, not clustered",
        cycles=lambda workload: systolic_cycles(workload, Order.ORIGINAL),
        multipliers=DTQATTEN_MULTIPLIERS,
        bits=4,
        assumptions="arrays of 3 x 3, the tile of the paper's figure; P x V costs what Q x K^T "
        "does; tokens in text order",
        headline="8.17 times Eyeriss on BERT-Base [DTQ]",
        error=0.06,
    ),
    Peer(
        name="MNNFast",
        cycles=throughput(120),
        multipliers=None,
        bits=None,
        assumptions="calibrated, not predicted: its published throughput on every shape",
        headline="120 GOP/s [SpA]",
        error=0.0,
        gops=120,
        gops_per_joule=120,
    ),
    Peer(
        name="A3",
        cycles=dense(128),
        multipliers=128,
        bits=None,
        assumptions="as many multipliers as SpAtten-1/8, which was sized to be compared with it: "
        "one key and one value of 64 channels a cycle; nothing lost between queries",
        headline="221 GOP/s [SpA]",
        error=0.16,
        gops=221,
        gops_per_joule=269,
        mm2=2.08,
    ),
    Peer(
        name="SpAtten-1/8",
        cycles=pruned_keys(128),
        multipliers=128,
        bits=12,
        assumptions="half the multipliers for each product; keys and values of pruned tokens are "
        "left out, queries are not",
        headline="360 GOP/s, with 29.8 % of the tokens pruned [SpA, DTQ]",
        error=0.02,
        gops=360,
        gops_per_joule=382,
        mm2=1.55,
    ),
    Peer(
        name="DTQAtten as published",
        cycles=lambda workload: systolic_cycles(workload, Order.ALIGNED),
        multipliers=DTQATTEN_MULTIPLIERS,
        bits=4,
        assumptions="no PE ever waits; P x V costs what Q x K^T does",
        headline="13.57 times Eyeriss on BERT-Base [DTQ]",
        error=0.02,
        gops=952.8,
        gops_per_joule=1298.4,
        mm2=1.41,
    ),
)
