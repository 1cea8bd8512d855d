"""Every peer against its own paper's headline, within the error that it states."""

import pytest

from dtqatten.golden.numerics.order import Order
from dtqatten.model.peers import EYERISS, PEERS, Peer, systolic_cycles
from dtqatten.model.workload import Workload

#: Shapes of AlexNet's convolutions: output pixels, kernel, channels of a group, filters.
ALEXNET = (
    (55 * 55, 11 * 11, 3, 96),
    (27 * 27, 5 * 5, 48, 256),
    (13 * 13, 3 * 3, 256, 384),
    (13 * 13, 3 * 3, 192, 384),
    (13 * 13, 3 * 3, 192, 256),
)


def peer(name: str) -> Peer:
    (found,) = [one for one in PEERS if one.name == name]
    return found


def close(value: float, headline: float, error: float) -> bool:
    return abs(value / headline - 1) <= error


def speedup(name: str) -> float:
    workload = Workload()
    return EYERISS.cycles(workload) / peer(name).cycles(workload)


def test_eyeriss() -> None:
    """The model, at the chip's own size: a product a PE and cycle."""
    macs = sum(
        pixels * kernel * channels * filters for pixels, kernel, channels, filters in ALEXNET
    )
    assert macs == pytest.approx(666e6, rel=0.01)
    assert close(168 * 200e6 / macs, 35, EYERISS.error)


@pytest.mark.parametrize(
    ("name", "headline"), [("systolic, not clustered", 8.17), ("DTQAtten as published", 13.57)]
)
def test_speedups(name: str, headline: float) -> None:
    assert close(speedup(name), headline, peer(name).error)


@pytest.mark.parametrize(
    ("name", "pruned"), [("MNNFast", 0.0), ("A3", 0.0), ("SpAtten-1/8", 0.298)]
)
def test_throughputs(name: str, pruned: float) -> None:
    one = peer(name)
    assert one.gops
    assert close(
        one.modelled_gops(Workload(shares=(pruned, 0.0, 1 - pruned))), one.gops, one.error + 1e-9
    )


def test_published_ratios_agree() -> None:
    """What the paper says of the four attention accelerators follows from the figures here."""
    ours, mnnfast, a3 = peer("DTQAtten as published"), peer("MNNFast"), peer("A3")
    assert ours.gops
    assert mnnfast.gops
    assert ours.gops / mnnfast.gops == pytest.approx(7.94, abs=0.005)
    assert ours.mm2
    assert a3.mm2
    assert ours.mm2 / a3.mm2 == pytest.approx(0.67, abs=0.01)


def test_order_of_tokens() -> None:
    """Clustering gains, and nothing beats an array in which no PE waits."""
    workload = Workload()
    original, clustered, ideal = (systolic_cycles(workload, order) for order in Order)
    assert original > clustered > ideal


@pytest.mark.parametrize("tokens", [16, 64, 1024])
@pytest.mark.parametrize("one", PEERS, ids=lambda one: one.name)
def test_all_eight_bit_tokens_gain_nothing_but_width(one: Peer, tokens: int) -> None:
    """No peer does more than one product a multiplier and cycle."""
    workload = Workload(tokens=tokens, shares=(0.0, 0.0, 1.0))
    if one.multipliers:
        planes = 4 if one.bits == 4 else 1
        assert one.cycles(workload) >= workload.macs * planes / one.multipliers
