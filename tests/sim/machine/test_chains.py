"""The whole machine on a simulated bus: every result bit-exact, every read as foreseen."""

import functools

import numpy as np
import pytest

from dtqatten import Config, Schedule, TopKEngine
from dtqatten.algorithm.encoder import EncoderError, capture
from dtqatten.configuration.system import ReadStream, SystemConfig
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
from dtqatten.sim.machine.samples import DRIVEN

SYSTEMS = {
    # That of the driver's tests, so that it is compiled once.
    "4x4, 64 bits": DRIVEN,
    "gains, 40-byte planes": SystemConfig(
        core=Config(
            rows=3,
            cols=5,
            depth=5,
            d_head=80,
            n_max=17,
            schedule=Schedule.INTERLEAVED,
            planes=3,
            v_gains=True,
            heads=9,
            capacity=300,
            sinks=True,
        ),
        bus_bits=128,
    ),
    "counted, 512 bits": SystemConfig(
        core=Config(
            rows=2,
            cols=6,
            depth=8,
            d_head=32,
            n_max=20,
            cumulative=True,
            unsigned_weights=True,
            count_normalize=True,
            topk_lanes=8,
            heads=9,
            capacity=1000,
            windows=True,
            skip_tiles=True,
        ),
        bus_bits=512,
        address_bits=32,
        buffer_bursts=2,
    ),
    "segments": SystemConfig(
        core=Config(
            rows=2,
            cols=4,
            depth=4,
            d_head=16,
            n_max=10,
            heads=6,
            capacity=200,
            windows=True,
            sinks=True,
            topk_lanes=4,
            # Fewer than heads: calls are cut into some of them.
            merge_rows=4,
        ),
        bus_bits=128,
    ),
    # Groups of 1 to 8 query heads, of which 3, 5, 6 and 7 fill no row block.
    "grouped, 64 bits": SystemConfig(
        core=Config(
            rows=4, cols=4, depth=4, d_head=16, n_max=24, heads=24, capacity=60, grouped=True
        ),
        bus_bits=64,
        burst_beats=4,
    ),
    "grouped, 128 bits": SystemConfig(
        core=Config(
            rows=6,
            cols=8,
            depth=4,
            value_depth=3,
            d_head=32,
            n_max=26,
            heads=24,
            unsigned_weights=True,
            v_gains=True,
            cumulative=True,
            grouped=True,
            skip_tiles=True,
            local_values=True,
            windows=True,
        ),
    ),
    "grouped, 512 bits": SystemConfig(
        core=Config(
            rows=3, cols=5, depth=8, d_head=40, n_max=30, heads=24, capacity=90, grouped=True
        ),
        bus_bits=512,
    ),
    "segments, grouped": SystemConfig(
        core=Config(
            rows=3,
            cols=4,
            depth=4,
            d_head=8,
            n_max=12,
            heads=12,
            capacity=100,
            v_gains=True,
            windows=True,
            sinks=True,
            grouped=True,
            skip_tiles=True,
            local_values=True,
            topk_lanes=4,
            merge_rows=9,
        ),
        bus_bits=64,
    ),
    # Keys in 4 bits first: of grouped heads, and of heads of their own that are pruned.
    "progressive, grouped": SystemConfig(
        core=Config(
            rows=6,
            cols=4,
            depth=4,
            d_head=16,
            n_max=26,
            heads=12,
            capacity=90,
            windows=True,
            sinks=True,
            grouped=True,
            held_importance=True,
            skip_tiles=True,
            local_values=True,
            progressive=True,
        ),
        bus_bits=128,
    ),
    "progressive, 64 bits": SystemConfig(
        core=Config(
            rows=3,
            cols=4,
            depth=2,
            d_head=24,
            n_max=18,
            heads=8,
            planes=3,
            v_gains=True,
            cumulative=True,
            head_pruning=True,
            progressive=True,
            load_bits=16,
        ),
        bus_bits=64,
        burst_beats=4,
        buffer_bursts=2,
    ),
    # V after the choice: of grouped heads, of heads that are pruned, of heads in 4 bits first.
    "chosen values, grouped": SystemConfig(
        core=Config(
            rows=6,
            cols=4,
            depth=4,
            value_depth=2,
            d_head=16,
            n_max=26,
            heads=12,
            capacity=90,
            windows=True,
            sinks=True,
            grouped=True,
            held_importance=True,
            skip_tiles=True,
            local_values=True,
            chosen_values=True,
        ),
        bus_bits=128,
    ),
    "chosen values, 64 bits": SystemConfig(
        core=Config(
            rows=4,
            cols=5,
            depth=2,
            d_head=24,
            n_max=22,
            heads=8,
            planes=3,
            v_gains=True,
            cumulative=True,
            head_pruning=True,
            skip_tiles=True,
            local_values=True,
            chosen_values=True,
            load_bits=16,
        ),
        bus_bits=64,
        burst_beats=4,
        buffer_bursts=2,
    ),
    "chosen values, 256 bits": SystemConfig(
        core=Config(
            rows=8,
            cols=3,
            depth=4,
            d_head=32,
            n_max=40,
            heads=8,
            capacity=70,
            unsigned_weights=True,
            progressive=True,
            skip_tiles=True,
            local_values=True,
            chosen_values=True,
            load_bits=128,
        ),
        bus_bits=256,
    ),
    "chosen values, 512 bits": SystemConfig(
        core=Config(
            rows=4,
            cols=8,
            depth=8,
            value_depth=4,
            d_head=64,
            n_max=64,
            heads=16,
            capacity=400,
            grouped=True,
            skip_tiles=True,
            local_values=True,
            chosen_values=True,
            value_load_bits=128,
        ),
        bus_bits=512,
    ),
    # As many heads as are no power of two.
    "heads pruned": SystemConfig(
        core=Config(
            rows=2,
            cols=3,
            depth=2,
            d_head=8,
            n_max=14,
            heads=11,
            capacity=60,
            v_gains=True,
            cumulative=True,
            sinks=True,
            windows=True,
            topk_lanes=2,
            normalizer_lanes=2,
            head_pruning=True,
        ),
        bus_bits=64,
        burst_beats=4,
    ),
    "256 channels": SystemConfig(
        core=Config(rows=2, cols=16, depth=32, d_head=256, n_max=20, heads=4, v_gains=True),
        bus_bits=256,
    ),
    "quick-select": SystemConfig(
        core=Config(
            rows=2,
            cols=4,
            depth=4,
            d_head=16,
            n_max=24,
            heads=6,
            cumulative=True,
            topk_lanes=4,
            topk_engine=TopKEngine.QUICK_SELECT,
        ),
        bus_bits=64,
    ),
    "one pass": SystemConfig(
        core=Config(rows=2, cols=8, depth=2, d_head=8, n_max=12, heads=9), bus_bits=256
    ),
}


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


@pytest.mark.parametrize("name", ["heads pruned", "progressive, grouped"])
def test_faults_leave_no_choice_of_heads_and_no_verdict_behind(name) -> None:
    *_, (tally, kinds) = inject(device(name), 20, seed=3)
    assert tally.recovered == sum(kinds.values()) == 20
    wrong = (tally.hangs, tally.false_done, tally.unexpected, tally.stray_reads, tally.stray_writes)
    assert (*wrong, tally.violations) == (0,) * 6
