"""Decode steps whose row blocks choose before V is read: what is read, how long it takes."""

import dataclasses
import functools

import numpy as np
import pytest

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.driver.cache import Cache
from dtqatten.driver.calls import Call
from dtqatten.driver.device import Device
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.expected import compare_results, expected
from dtqatten.golden.memory import layer_reads
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.interface.registers import Control
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device

CORE = Config(
    rows=4, cols=8, depth=8, value_depth=4, d_head=32, n_max=96, heads=16, load_bits=128,
    capacity=120, grouped=True, skip_tiles=True, local_values=True, chosen_values=True,
    windows=True, progressive=True,
)  # fmt: skip
KEYS, HEADS = 96, 4


@functools.cache
def device() -> Device:
    return simulated_device(SystemConfig(core=CORE), timeout=400_000, optimize=0)


def step(
    *, chosen: bool = True, share: int = 90, queries: int = 1, grouped: bool = True, **options: int
) -> Call:
    """Return a step of four heads of K and V, of two query heads each; 32 keys have 4 bits."""
    rng = np.random.default_rng(8)
    q = rng.normal(size=(2 * HEADS, queries, CORE.d_head)) * 4
    k, v = rng.normal(size=(2, HEADS, KEYS, CORE.d_head))
    return Call(
        q=quantize(q),
        k=quantize(k),
        v=quantize(v),
        queries=TokenList(np.arange(KEYS - queries, KEYS)),
        keys=TokenList(np.arange(KEYS), 32),
        grouped=grouped,
        causal=True,
        chosen_values=chosen,
        options=Options(value_share=share, **options),
    )


def bus() -> SimulatedBus:
    """Return the machine's bus."""
    found = device().bus
    assert isinstance(found, SimulatedBus)
    return found


def run(calls: list[Call]) -> dict[str, int]:
    """Run a chain, compare it with the golden model burst by burst, and return counters."""
    machine, memory = device(), bus()
    memory.record()
    machine.set_register("control", Control.CLEAR_COUNTERS)
    golden = expected(CORE, calls)
    compare_results(calls, machine.run(calls), golden)
    wanted: dict[ReadStream, list] = {stream: [] for stream in ReadStream}
    for one, (address, fields) in zip(golden, machine.chain, strict=True):
        found = (one.rows, one.four_bit, None, one.flat, one.fetched)
        for stream, bursts in layer_reads(machine_system(), address, fields, *found).items():
            wanted[stream] += bursts
    assert memory.reads() == wanted
    return {name: machine.register(name) for name in ("cycles", "read_bytes")}


def machine_system() -> SystemConfig:
    """Return the machine's sizes."""
    return SystemConfig(core=CORE)


def test_a_cache_chooses_by_what_the_call_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Query heads that share K and V are one row block where they are grouped only."""
    given = step()
    cache = Cache(device(), KEYS, given.k.scale, given.v.scale)
    cache.append(given.k, given.v)
    for said, grouped in (({}, True), ({"grouped": True}, True), ({"grouped": False}, False)):
        call = cache.call(given.q, given.queries, options=given.options, **said)
        assert (call.grouped, call.chosen_values) == (grouped, grouped)
        run([call])
    monkeypatch.setitem(device().sizes, "rows", 1)
    assert not cache.call(given.q, given.queries, options=given.options).chosen_values


@pytest.mark.parametrize("share", [1, 90, 128, 255])
def test_bytes_of_values_fall_to_the_share(share: int) -> None:
    """24 groups of four keys: of a head so many are read, 64 bytes in 4 bits and 128 in 8."""
    bus().configure(latency=(20, 20))
    call = step(share=share)
    (golden,) = expected(CORE, [call])
    assert golden.fetched is not None
    assert golden.fetched.shape == (HEADS, 24)
    # All groups have a weight, as queries are sharp but see noise.
    weighs = [
        sum(rows[:, at : at + 4].any() for at in range(0, KEYS, 4))
        for rows in golden.outputs.weights.p.reshape(HEADS, 2, KEYS)
    ]
    assert golden.fetched.sum(1).tolist() == [-(-n * share // 256) for n in weighs]
    narrow, wide = golden.fetched[:, :8].sum(), golden.fetched[:, 8:].sum()
    plain, some = run([step(chosen=False, share=share)]), run([call])
    all_values = HEADS * CORE.d_head // 2 * (2 * KEYS - 32)
    assert plain["read_bytes"] - some["read_bytes"] == all_values - 64 * (narrow + 2 * wide)


def test_chains_at_any_pace() -> None:
    """Steps that choose follow steps that do not, on lists with gaps, in windows, of few keys."""
    rng = np.random.default_rng(5)
    for seed, (latency, pause, reorder) in enumerate(
        [((1, 1), 0.0, False), ((1, 200), 0.4, True), ((1, 30), 0.1, True)] * 2
    ):
        chain = []
        for number in range(4):
            call = step(chosen=number % 3 != 1, share=int(rng.choice([1, 60, 128, 255])))
            count = int(rng.choice([1, 2, 7, 33, KEYS]))
            ids = rng.permutation(KEYS)[:count]
            edge = int(rng.integers(count + 1))
            listed = TokenList(np.concatenate([np.sort(ids[:edge]), np.sort(ids[edge:])]), edge)
            window = int(rng.choice([0, 1, 20])) or None
            keys = call.keys if rng.random() < 0.3 else listed
            limit = [None, 0, 150_000][number % 3]
            options = dataclasses.replace(call.options, flat_sum=limit)
            chain.append(dataclasses.replace(call, keys=keys, k0=0, window=window, options=options))
        bus().configure(seed=seed, latency=latency, pause=pause, reorder=reorder)
        run(chain)


def test_a_step_that_chooses_takes_less_time() -> None:
    """Two steps: V passes at 32 bits a cycle, a nibble a column, which is what limits here."""
    bus().configure(latency=(20, 20))
    cycles = [run([step(chosen=chosen)] * 2)["cycles"] for chosen in (False, True)]
    assert cycles == [5838, 3070]


def test_layers_that_do_not_choose_take_the_cycles_of_a_machine_without_the_option() -> None:
    """3101 on either, for one step; 5838 for two."""
    plain = simulated_device(
        SystemConfig(core=CORE.replace(chosen_values=False)), timeout=400_000, optimize=0
    )
    assert isinstance(plain.bus, SimulatedBus)
    for memory in (plain.bus, bus()):
        memory.configure(latency=(20, 20))
    for steps, cycles in ((1, 3101), (2, 5838)):
        chain = [step(chosen=False)] * steps
        plain.set_register("control", Control.CLEAR_COUNTERS)
        compare_results(chain, plain.run(chain), expected(CORE, chain))
        assert run(chain)["cycles"] == plain.register("cycles") == cycles


def test_steps_beyond_a_row_block_are_refused() -> None:
    with pytest.raises(LayoutError, match=r"6 rows of a head with chosen_values, more than .* 4"):
        device().run([step(queries=3)])
    with pytest.raises(LayoutError, match="query heads share 4 of K and V with chosen_values"):
        device().run([step(grouped=False)])
    with pytest.raises(LayoutError, match="chosen_values with a value_share of 256, which is all"):
        device().run([step(share=256)])
