"""Importance of a cache by id: read, added to and written back, on the machine; protected keys."""

import functools

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.driver.cache import Cache
from dtqatten.driver.calls import Call
from dtqatten.driver.device import Device
from dtqatten.driver.errors import EXCEPTIONS, LayoutError
from dtqatten.driver.expected import compare_results, expected
from dtqatten.golden.memory import layer_reads
from dtqatten.golden.numerics.codes import Codes, quantize
from dtqatten.golden.numerics.select import protected
from dtqatten.golden.numerics.tokens import CacheImportance, TokenList
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device
from dtqatten.sim.machine.chains import random_list

SYSTEMS = {
    "64 bits": SystemConfig(
        core=Config(
            rows=2,
            cols=4,
            depth=2,
            d_head=8,
            n_max=24,
            heads=6,
            capacity=40,
            topk_lanes=4,
            grouped=True,
            held_importance=True,
        ),
        bus_bits=64,
        burst_beats=4,
    ),
    "256 bits": SystemConfig(
        core=Config(
            rows=2,
            cols=3,
            depth=8,
            d_head=16,
            n_max=20,
            heads=6,
            capacity=300,
            topk_lanes=2,
            cumulative=True,
            count_normalize=True,
            held_importance=True,
        ),
        bus_bits=256,
    ),
    "heads pruned": SystemConfig(
        core=Config(
            rows=2,
            cols=4,
            depth=2,
            d_head=8,
            n_max=12,
            heads=6,
            capacity=40,
            topk_lanes=4,
            held_importance=True,
            head_pruning=True,
        ),
        bus_bits=64,
        burst_beats=4,
    ),
}
CAPACITY = 40


@functools.cache
def device(name: str) -> Device:
    return simulated_device(SYSTEMS[name], timeout=400_000, optimize=0)


def a_cache(machine: Device, rng: np.random.Generator) -> Cache:
    """Return a full cache of two heads, whose tokens have drawn some importance."""
    scale = np.full(2, 0.05)
    cache = Cache(machine, CAPACITY, scale, scale, importance=True)
    values = rng.normal(size=(2, 2, CAPACITY, machine.sizes["d_head"]))
    cache.append(*(quantize(x, scale=scale) for x in values))
    drawn = rng.integers(0, int(rng.choice([1 << 16, 1 << 32])), CAPACITY).astype("<u4")
    machine.bus.write(cache.placed["held"], drawn.tobytes())
    return cache


def a_call(core: Config, cache: Cache, rng: np.random.Generator) -> Call:
    """Return a call on some keys, or on all in order, of which some are protected."""
    count = int(rng.integers(1, core.n_max + 1))
    keys = random_list(rng, count, CAPACITY)
    first, last = rng.integers(0, 4), rng.integers(0, 4)
    safe = int(protected(keys.ids, first=first, last=last).sum())
    k0 = int(rng.integers(max(1, safe), count + 1))
    m = int(rng.integers(1, 5))
    start = int(rng.integers(0, CAPACITY - m))
    return cache.call(
        quantize(rng.normal(size=(4, m, core.d_head))),
        TokenList(np.arange(start, start + m), int(rng.integers(0, m + 1))),
        keys,
        causal=bool(rng.integers(2)),
        k0=k0,
        k1=int(rng.integers(0, k0 + 1)),
        ids=bool(rng.integers(2)),
        protect_first=int(first),
        protect_last=int(last),
        keep_heads=int(rng.integers(5)) if core.head_pruning else 0,
    )


@pytest.mark.parametrize(
    "name", ["64 bits", pytest.param("256 bits", marks=pytest.mark.long), "heads pruned"]
)
@pytest.mark.parametrize(
    ("latency", "pause", "reorder"), [((1, 1), 0.0, False), ((1, 200), 0.4, True)]
)
def test_chains_are_bit_exact(name, latency, pause, reorder) -> None:
    """Calls that follow each other read what the one before has written; others stay apart."""
    machine = device(name)
    bus = machine.bus
    assert isinstance(bus, SimulatedBus)
    bus.set_windows(
        (machine.inputs.base, machine.outputs.last), (machine.outputs.base, machine.outputs.last)
    )
    rng = np.random.default_rng(int(10 * pause))
    caches = [a_cache(machine, rng) for _ in range(2)]
    for seed in range(8):
        chain = []
        for _ in range(int(rng.integers(1, 5))):
            chain.append(a_call(SYSTEMS[name].core, caches[int(rng.integers(2))], rng))
        golden = expected(SYSTEMS[name].core, chain)
        bus.configure(seed=seed, latency=latency, pause=pause, reorder=reorder)
        bus.record()
        before = bus.counters
        compare_results(chain, machine.run(chain), golden)
        after = bus.counters
        assert after.violations == before.violations
        assert (after.stray_reads, after.stray_writes) == (
            before.stray_reads,
            before.stray_writes,
        )
        wanted: dict[ReadStream, list] = {stream: [] for stream in ReadStream}
        for one, (address, fields) in zip(golden, machine.chain, strict=True):
            reads = layer_reads(SYSTEMS[name], address, fields, one.rows, one.four_bit)
            for stream, bursts in reads.items():
                wanted[stream] += bursts
        assert bus.reads() == wanted


def test_tokens_protected_by_id_stay_first_whatever_the_others_draw() -> None:
    """They have importance 0 and draw the least: unprotected they are the first to go."""
    machine, core = device("64 bits"), SYSTEMS["64 bits"].core
    rng = np.random.default_rng(7)
    cache = a_cache(machine, rng)
    drawn = np.full(CAPACITY, 1 << 20, "<u4")
    chosen = [3, 4, 17, 39]
    drawn[chosen] = 0
    machine.bus.write(cache.placed["held"], drawn.tobytes())
    listed = TokenList(np.array([0, 3, 5, 6, 17, 20, 4, 21, 30, 39]), 6)

    def kept() -> list[int]:
        call = cache.call(
            quantize(rng.normal(size=(4, 2, 8))), TokenList(np.array([38, 39])), listed, k0=4, k1=4
        )
        golden = expected(core, [call])
        compare_results([call], machine.run([call]), golden)
        return sorted(listed.ids[golden[0].ids].tolist())

    assert not set(kept()) & set(chosen)
    cache.protect([*reversed(chosen), 3])
    assert cache.importance.values[chosen].tolist() == [2**32 - 1] * 4
    assert (cache.importance.values == 2**32 - 1).sum() == 4
    for _ in range(2):
        assert kept() == chosen
    cache.protect([])
    with pytest.raises(LayoutError, match="token 40 is not in the cache: nothing to protect"):
        cache.protect([40])
    plain = Cache(machine, 6, np.ones(2), np.ones(2))
    with pytest.raises(LayoutError, match="keeps no importance: make it with importance=True"):
        plain.protect([])


def test_importance_saturates_and_all_keys_in_order_need_no_list() -> None:
    machine = device("64 bits")
    scale = np.full(2, 0.05)
    cache = Cache(machine, 6, scale, scale, importance=True)
    cache.append(*(quantize(np.ones((2, 6, 8)), scale=scale) for _ in range(2)))
    held = np.array([0, 2**32 - 1, 2**32 - 2, 5, 2**31, 7], "<u4")
    machine.bus.write(cache.placed["held"], held.tobytes())
    call = cache.call(quantize(np.ones((4, 1, 8))), TokenList.all(1, start=5), k0=3, protect_last=1)
    assert not call.listed
    golden = expected(SYSTEMS["64 bits"].core, [call])
    compare_results([call], machine.run([call]), golden)
    assert cache.importance.values[1:3].tolist() == [2**32 - 1] * 2
    # The last one is protected; of the two largest, both are kept.
    assert sorted(golden[0].ids.tolist()) == [1, 2, 5]


def test_fewer_kept_than_protected_ends_the_chain() -> None:
    machine = device("64 bits")
    rng = np.random.default_rng(0)
    cache = a_cache(machine, rng)
    q = quantize(rng.normal(size=(4, 1, 8)))
    keys = TokenList(np.arange(10, 20))
    with pytest.raises(LayoutError, match="4 keys are protected, more than the k0 = 3"):
        cache.call(q, TokenList.all(1, start=30), keys, k0=3, protect_last=4)
    call = cache.call(q, TokenList.all(1, start=30), keys, k0=4, protect_last=4)
    object.__setattr__(call, "k0", 3)
    with pytest.raises(EXCEPTIONS[ErrorCode.PROTECTED]) as caught:
        machine.run([call])
    assert caught.value.address == cache.placed["held"]
    object.__setattr__(call, "k0", 4)
    golden = expected(SYSTEMS["64 bits"].core, [call])
    compare_results([call], machine.run([call]), golden)


def test_what_needs_importance_is_refused_without() -> None:
    machine = device("64 bits")
    scale = np.full(1, 0.05)
    cache = Cache(machine, 4, scale, scale)
    with pytest.raises(LayoutError, match="make it with importance=True"):
        _ = cache.importance
    codes: Codes = quantize(np.ones((1, 4, 8)), scale=scale)
    cache.append(codes, codes)
    with pytest.raises(LayoutError, match="make it with importance=True"):
        cache.call(quantize(np.ones((1, 1, 8))), TokenList.all(1), protect_first=1)
    holds = Cache(machine, 4, scale, scale, importance=True)
    holds.append(codes, codes)
    with pytest.raises(LayoutError, match="not chained, cumulative or reported"):
        holds.call(quantize(np.ones((1, 1, 8))), TokenList.all(1), report=True)
    assert isinstance(holds.importance, CacheImportance)
