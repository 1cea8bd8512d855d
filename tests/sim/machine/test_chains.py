"""The whole machine on a simulated bus: every result bit-exact, every read as foreseen."""

import functools

import numpy as np
import pytest

from chain_systems import SYSTEMS
from dtqatten.algorithm.encoder import EncoderError, capture
from dtqatten.configuration.system import ReadStream
from dtqatten.driver.device import Device
from dtqatten.driver.expected import compare_results, expected
from dtqatten.driver.layers import Layer
from dtqatten.driver.segments import Segment, pieces
from dtqatten.golden.memory import layer_reads
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.select import PAPER_SHARES, counts
from dtqatten.golden.traces.trace import example
from dtqatten.interface.registers import Control
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device
from dtqatten.sim.machine.chains import random_chain
from dtqatten.sim.machine.faults import inject

#: `make test` runs those whose options no other system has.
LONG = ("one pass", "grouped, 64 bits", "grouped, 512 bits")
#: Of a chain: layers whose queries are not their keys, and those of them with too many keys.
SHARES = {"calls": 0.4, "segments": 0.7}


@functools.cache
def device(name: str) -> Device:
    return simulated_device(SYSTEMS[name], timeout=400_000, optimize=0)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in SYSTEMS],
)
@pytest.mark.parametrize(
    ("latency", "pause", "reorder"), [((1, 1), 0.0, False), ((1, 200), 0.4, True)]
)
def test_chains_are_bit_exact(name, latency, pause, reorder) -> None:
    """Random layers, options and behaviour of the bus; reads burst by burst."""
    machine, system = device(name), SYSTEMS[name]
    bus = machine.bus
    assert isinstance(bus, SimulatedBus)
    rng = np.random.default_rng(int(10 * pause))
    for seed in range(12):
        chain = random_chain(system.core, rng, layers=int(rng.integers(1, 5)), **SHARES)
        golden = expected(system.core, chain)
        bus.configure(seed=seed, latency=latency, pause=pause, reorder=reorder)
        bus.record()
        before = bus.counters
        compare_results(chain, machine.run(chain), golden)
        after = bus.counters
        assert after.violations == before.violations
        assert (after.stray_reads, after.stray_writes) == (0, 0)
        wanted: dict[ReadStream, list] = {stream: [] for stream in ReadStream}
        computed = [
            (piece.own.ids, piece.own.four_bit, None, None, None)
            if isinstance(piece, Segment)
            else (
                one.rows,
                one.four_bit,
                np.flatnonzero(one.alive) if layer.heads_chained else None,
                one.flat,
                one.fetched,
            )
            for layer, one in zip(chain, golden, strict=True)
            for piece in pieces(layer, machine.sizes)
        ]
        for tokens, (address, fields) in zip(computed, machine.chain, strict=True):
            for stream, bursts in layer_reads(system, address, fields, *tokens).items():
                wanted[stream] += bursts
        assert bus.reads() == wanted


def recorded(source: str) -> list[tuple]:
    """Return Q, K and V of two layers of a real encoder: consecutive ones, or one layer twice."""
    if source == "committed trace":
        trace = example()
        return [(trace.q, trace.k, trace.v)] * 2
    try:
        _, layers = capture("She sells sea shells by the sea shore, and he repairs old clocks.")
    except EncoderError as absent:
        pytest.skip(str(absent))
    return [(layer.q, layer.k, layer.v) for layer in layers[2:4]]


@pytest.mark.parametrize("source", ["committed trace", "layers 2 and 3"])
def test_two_layers_of_a_real_encoder(source) -> None:
    """All heads, both layers in memory from the start: the second runs on the core's own ids."""
    machine, core = device("4x4, 64 bits"), SYSTEMS["4x4, 64 bits"].core
    assert isinstance(machine.bus, SimulatedBus)
    machine.bus.configure(latency=(1, 60))
    first, second = ([quantize(x) for x in tensors] for tensors in recorded(source))
    n = first[0].codes.shape[1]
    k0, k1 = counts(n, PAPER_SHARES)
    keep, wide = counts(k0, PAPER_SHARES)
    q, k, v = first
    chain = [Layer(q=q, k=k, v=v, k0=k0, k1=k1, report=True)]
    q, k, v = second
    chain.append(Layer(q=q, k=k, v=v, k0=keep, k1=wide, chained=True, report=True))
    compare_results(chain, machine.run(chain), expected(core, chain))


def heads_chain(keep: tuple[int, int], **options: bool) -> list[Layer]:
    """Return two layers of the same tokens, of which the second computes what the first keeps."""
    core, rng = SYSTEMS["heads pruned"].core, np.random.default_rng(5)
    n = core.n_max
    layers = []
    for number, many in enumerate(keep):
        q, k = (quantize(rng.normal(size=(core.heads, n, core.d_head))) for _ in range(2))
        v = quantize(rng.normal(size=(core.heads, n, core.d_head)), "token")
        chained = {name: on and number > 0 for name, on in options.items()}
        layers.append(Layer(q=q, k=k, v=v, k0=n, k1=n, keep_heads=many, **chained))
    return layers


def test_heads_that_all_stay_cost_no_cycle() -> None:
    """The next layer waits for a choice of heads, and only for that; fewer heads take less."""
    machine, core = device("heads pruned"), SYSTEMS["heads pruned"].core
    assert isinstance(machine.bus, SimulatedBus)
    machine.bus.configure(latency=(1, 1))
    cycles = {}
    for name, keep, chained in (
        ("none ranked", (0, 0), False),
        ("all stay", (core.heads, 0), True),
        ("one goes", (core.heads - 1, 0), True),
        ("four stay", (4, 0), True),
    ):
        chain = heads_chain(keep, heads_chained=chained)
        machine.set_register("control", Control.CLEAR_COUNTERS)
        compare_results(chain, machine.run(chain), expected(core, chain))
        cycles[name] = machine.register("cycles")
    # The report takes 8 bytes a head, written while the layer is.
    assert cycles["all stay"] - cycles["none ranked"] <= 2 * core.heads
    assert cycles["four stay"] < cycles["one goes"]
    first = cycles["none ranked"] / 2
    assert cycles["four stay"] < first + first * 5 / 11 + 300


@pytest.mark.parametrize("name", ["heads pruned", "progressive, grouped", "chosen values, 64 bits"])
def test_faults_leave_no_choice_of_heads_and_no_verdict_behind(name) -> None:
    *_, (tally, kinds) = inject(device(name), 20, seed=3)
    assert tally.recovered == sum(kinds.values()) == 20
    wrong = (tally.hangs, tally.false_done, tally.unexpected, tally.stray_reads, tally.stray_writes)
    assert (*wrong, tally.violations) == (0,) * 6
