"""The driver against a machine: errors by code, what it refuses itself, waiting for the host."""

import dataclasses
import functools

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.descriptor import pack, unpack
from dtqatten.driver.device import Arena, Device
from dtqatten.driver.errors import EXCEPTIONS, AbortedError, LayoutError
from dtqatten.driver.layers import Layer
from dtqatten.golden.codes import quantize
from dtqatten.golden.memory import layer_reads
from dtqatten.registers import Control, ErrorCode, Interrupt, Status
from dtqatten.sim.axi import SimulatedBus, simulated_device
from dtqatten.sim.chains import compare_results, expected
from dtqatten.system_config import ReadStream, SystemConfig

SYSTEM = SystemConfig(
    core=Config(rows=4, cols=4, depth=4, value_depth=5, d_head=32, n_max=40, heads=12),
    bus_bits=64,
    burst_beats=4,
)


@functools.cache
def shared() -> Device:
    return simulated_device(SYSTEM, timeout=200_000, optimize=0)


@pytest.fixture
def device() -> Device:
    machine = shared()
    bus = machine.bus
    assert isinstance(bus, SimulatedBus)
    bus.reset()
    bus.configure()
    return machine


def layer(heads: int = 2, tokens: int = 10, seed: int = 0, **options) -> Layer:
    rng = np.random.default_rng(seed)
    q, k, v = (quantize(rng.normal(size=(heads, tokens, 32))) for _ in range(3))
    return Layer(q=q, k=k, v=v, **{"k0": min(6, tokens), "k1": 2} | options)


def start(device: Device, **changes: int) -> None:
    """Start a good layer's descriptor with some fields changed, and wait for the end."""
    (address,) = device.prepare(1)
    fields = device.place(layer(), address, 0)
    device.bus.write(address, pack(fields | changes))
    device.start(address)
    device.bus.wait()


BASE = 0x1000_0000


@pytest.mark.parametrize(
    ("code", "changes", "address"),
    [
        (ErrorCode.VERSION, {"magic": 1}, None),
        (ErrorCode.VERSION, {"version": 1}, None),
        (ErrorCode.FLAGS, {"flags": 1 << 20}, None),
        (ErrorCode.FLAGS, {"output_shift": 1}, None),
        (ErrorCode.NO_HEADS, {"heads": 0}, None),
        (ErrorCode.TOO_MANY_HEADS, {"heads": 13}, None),
        (ErrorCode.KV_HEADS, {"kv_heads": 0}, None),
        (ErrorCode.KV_HEADS, {"heads": 3}, None),
        (ErrorCode.NO_TOKENS, {"stored": 0}, None),
        (ErrorCode.TOO_MANY_TOKENS, {"stored": 41, "tokens": 41}, None),
        (ErrorCode.TOKENS, {"tokens": 9}, None),
        (ErrorCode.TOKENS, {"four_bit": 11}, None),
        (ErrorCode.TOKENS, {"flags": 1}, None),
        (ErrorCode.K0, {"k0": 0}, None),
        (ErrorCode.K0, {"k0": 11}, None),
        (ErrorCode.K1, {"k1": 7}, None),
        (ErrorCode.ALIGNMENT, {"q": BASE + 0x1020}, BASE + 0x1020),
        (ErrorCode.READ_WINDOW, {"k": BASE - 64}, BASE - 64),
        (ErrorCode.READ_WINDOW, {"v": 1 << 63}, 1 << 63),
        (ErrorCode.READ_WINDOW, {"next": 1 << 50}, 1 << 50),
        (ErrorCode.WRITE_WINDOW, {"output": BASE}, BASE),
        (ErrorCode.CHAIN, {"next": BASE}, None),
        (ErrorCode.CHAIN, {"next": 64}, None),
    ],
)
def test_bad_descriptors_are_refused_before_any_data_access(device, code, changes, address) -> None:
    device.bus.record()
    start(device, **changes)
    assert device.register("error_code") == code
    assert device.register("error_address") == (BASE if address is None else address)
    assert not device.bus.writes()
    assert [stream.name for stream, reads in device.bus.reads().items() if reads] == ["DESCRIPTOR"]
    good = layer()
    compare_results([good], device.run([good]), expected(SYSTEM.core, [good]))


def test_an_error_ahead_lets_the_layer_before_it_end(device) -> None:
    first, second = layer(), layer(seed=3)
    addresses = device.prepare(2)
    placed = device.place(first, addresses[0], addresses[1])
    fields = device.place(second, addresses[1], 0)
    device.bus.write(addresses[1], pack(fields | {"k1": 7}))
    device.start(addresses[0])
    while device.register("status") & Status.BUSY:
        device.bus.run(100)
    assert device.register("error_code") == ErrorCode.K1
    assert device.register("error_address") == addresses[1]
    assert device.register("layers_done") == 1
    golden = expected(SYSTEM.core, [first])
    compare_results([first], [device.collect(first, placed)], golden)


@pytest.mark.parametrize(
    ("name", "at", "value", "code"),
    [
        ("head_table", 6, 41, ErrorCode.HEAD_TABLE),
        ("head_table", 3, 1, ErrorCode.HEAD_TABLE),
        ("k_gains", 13, 0, ErrorCode.GAIN),
    ],
)
def test_head_tables_and_gains_are_checked_as_they_come(device, name, at, value, code) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (quantize(rng.normal(size=(2, 10, 32)), kind) for kind in ("head", "token", "head"))
    (address,) = device.prepare(1)
    fields = device.place(Layer(q=q, k=k, v=v, k0=6, k1=2), address, 0)
    device.bus.write(fields[name] + at, bytes([value]))
    device.start(address)
    device.bus.wait()
    assert device.register("error_code") == code
    entry = at // 4 * 4 if code == ErrorCode.HEAD_TABLE else at
    assert device.register("error_address") == fields[name] + entry
    assert device.register("layers_done") == 0
    good = layer(seed=2)
    compare_results([good], device.run([good]), expected(SYSTEM.core, [good]))


def test_after_reset_nothing_is_open(device) -> None:
    device.bus.record()
    for descriptor in (0, BASE):
        device.set_register("descriptor", descriptor)
        device.set_register("interrupt_enable", Interrupt.DONE)
        device.set_register("interrupt", Interrupt.DONE)
        device.set_register("control", Control.START)
        device.bus.wait()
        assert device.register("error_code") == ErrorCode.READ_WINDOW
        assert device.register("error_address") == descriptor
    assert not any(device.bus.reads().values())


@pytest.mark.parametrize("name", ["read_base", "read_limit", "write_base", "write_limit"])
@pytest.mark.parametrize("far", [1 << 40, 1 << 63])
def test_a_window_beyond_the_address_space_is_refused(device, name, far) -> None:
    """Its low bits alone would name pages that exist."""
    (address,) = device.prepare(1)
    device.place(layer(), address, 0)
    device.start(address)
    device.bus.wait()
    end = device.register(name)
    device.set_register(name, end + far)
    device.bus.record()
    device.set_register("interrupt", device.register("interrupt"))
    device.set_register("control", Control.START)
    device.bus.wait()
    assert device.register("error_code") == ErrorCode.WINDOW
    assert device.register("error_address") == end + far
    assert not any(device.bus.reads().values())


@pytest.mark.parametrize("command", [Control.ABORT, Control.START | Control.ABORT])
def test_an_abort_starts_nothing(device, command) -> None:
    (address,) = device.prepare(1)
    device.place(layer(), address, 0)
    device.start(address)
    while device.register("status") & Status.BUSY:
        device.bus.run(100)
    device.set_register("interrupt", device.register("interrupt"))
    device.bus.record()
    device.set_register("control", command)
    device.bus.run(200)
    assert device.register("status") == 0
    assert device.register("layers_done") == 1
    assert device.register("interrupt") == 0
    assert not any(device.bus.reads().values())


def test_registers_tell_all_that_results_depend_on(device) -> None:
    core = SYSTEM.core
    expected_sizes = {
        "version": 2, "rows": core.rows, "cols": core.cols, "value_depth": core.group,
        "planes": core.planes, "depth": core.depth, "d_head": core.d_head, "n_max": core.n_max,
        "heads": core.heads, "bus_bits": SYSTEM.bus_bits, "address_bits": SYSTEM.address_bits,
    }  # fmt: skip
    assert {name: device.register(name) for name in expected_sizes} == expected_sizes


def test_a_region_that_ends_outside_is_refused(device) -> None:
    """The last page of the window holds its beginning, not its end."""
    at = device.outputs.last + 1 - 4096
    start(device, output=at, heads=9, kv_heads=9)
    assert device.register("error_code") == ErrorCode.WRITE_WINDOW
    assert device.register("error_address") == at


@pytest.mark.parametrize("first", [BASE + 32, 0, 1 << 60])
def test_a_bad_first_descriptor_is_refused(device, first) -> None:
    device.prepare(1)
    device.start(first)
    device.bus.wait()
    code = ErrorCode.ALIGNMENT if first % 64 else ErrorCode.READ_WINDOW
    assert device.register("error_code") == code
    assert device.register("error_address") == first


@pytest.mark.parametrize("response", [2, 3])
def test_errors_of_the_bus_become_exceptions(device, response) -> None:
    device.bus.inject(read=40, response=response)
    with pytest.raises(EXCEPTIONS[ErrorCode.READ_RESPONSE]) as caught:
        device.run([layer()])
    assert device.inputs.base <= caught.value.address <= device.inputs.last
    assert caught.value.layers_done == 0
    device.bus.inject(write=5, response=response)
    with pytest.raises(EXCEPTIONS[ErrorCode.WRITE_RESPONSE]) as caught:
        device.run([layer()])
    assert device.outputs.base <= caught.value.address <= device.outputs.last
    good = layer(seed=2)
    compare_results([good], device.run([good]), expected(SYSTEM.core, [good]))


def test_the_last_acknowledgement_of_a_layer_counts(device) -> None:
    """A layer whose very last write fails is not done."""
    one = layer(ids=False)
    device.bus.record()
    device.run([one])
    device.bus.inject(write=len(device.bus.writes()) - 1)
    with pytest.raises(EXCEPTIONS[ErrorCode.WRITE_RESPONSE]) as caught:
        device.run([one])
    assert caught.value.layers_done == 0


def test_layers_that_depend_on_results(device) -> None:
    """The machine waits, with its ids kept, until the host has computed the next layer."""
    first = layer()
    seen = []

    def second(result):
        seen.append(result)
        return layer(tokens=10, seed=5, chained=True, k0=4, k1=1, causal=True)

    results = device.run([first, second])
    chain = [first, second(results[0])]
    compare_results(chain, results, expected(SYSTEM.core, chain))
    assert seen[0] is results[0]


def test_what_comes_next_is_fetched_meanwhile(device) -> None:
    """The next head while this one is computed, the next layer's first head during the last one."""
    chain = [layer(heads=2), layer(heads=2, tokens=10, seed=4, chained=True, k0=3, k1=1)]
    device.bus.record()
    device.run(chain)
    (_, first), _ = device.chain
    end = first["output"] + 2 * 2 * 10 * 32
    reads = {stream: device.bus.read_cycles(stream) for stream in ReadStream}
    written = list(zip(device.bus.writes(), device.bus.write_cycles(), strict=True))
    outputs = [cycle for burst, cycle in written if first["output"] <= burst.address < end]
    half = len(outputs) // 2  # of each head
    counts = {s: len(b) for s, b in layer_reads(SYSTEM, 0, first).items()}
    for stream in (ReadStream.Q_HIGH, ReadStream.K_HIGH, ReadStream.V_HIGH):
        assert reads[stream][counts[stream] // 2] < outputs[half - 1]
        assert reads[stream][counts[stream]] < outputs[-1]
    assert reads[ReadStream.DESCRIPTOR][counts[ReadStream.DESCRIPTOR]] < outputs[0]


def test_abort_at_any_time(device) -> None:
    chain = [layer(), layer(chained=True, tokens=10, k0=3, k1=1, seed=4)]
    golden = expected(SYSTEM.core, chain)
    for cycles in range(1, 2500, 371):
        addresses = device.prepare(2)
        placed = device.place(chain[0], addresses[0], addresses[1])
        device.place(chain[1], addresses[1], 0, (chain[0], placed))
        device.start(addresses[0])
        device.bus.run(cycles)
        device.abort()
        device.bus.run(2000)
        assert device.register("status") in (0, 8)
        compare_results(chain, device.run(chain), golden)


def test_an_abort_is_an_exception(device) -> None:
    def never(result):
        device.abort()
        return layer(chained=True, tokens=10)

    with pytest.raises(AbortedError, match="after 1 complete layers"):
        device.run([layer(), never])


def test_a_machine_that_never_answers_times_out(device) -> None:
    device.bus.timeout, before = 10, device.bus.timeout
    with pytest.raises(TimeoutError, match="no interrupt within 10 cycles"):
        device.run([layer()])
    device.bus.timeout = before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 13}, "13 heads, more than the machine's 12"),
        ({"tokens": 41}, "41 tokens, more than the machine's 40"),
        ({"cumulative": True, "fresh": True}, "cannot do <Flag.CUMULATIVE"),
        ({"chained": True}, "the first layer is chained"),
    ],
)
def test_the_driver_refuses_what_the_machine_would(device, changes, message) -> None:
    with pytest.raises(LayoutError, match=message):
        device.run([layer(**changes)])


def test_other_channels_are_refused(device) -> None:
    q = quantize(np.ones((1, 2, 16)))
    with pytest.raises(LayoutError, match="16 channels, but the machine has d_head 32"):
        device.run([Layer(q=q, k=q, v=q, k0=1, k1=0)])


def test_shapes_that_disagree_are_refused() -> None:
    q, k = quantize(np.ones((3, 4, 8))), quantize(np.ones((2, 4, 8)))
    with pytest.raises(LayoutError, match="shapes disagree"):
        Layer(q=q, k=k, v=k, k0=1, k1=0)


def test_arenas_are_pages_and_have_an_end() -> None:
    with pytest.raises(LayoutError, match="whole pages"):
        Arena(64, 4096)
    arena = Arena(4096, 4096)
    assert (arena.take(1), arena.take(64), arena.take(0)) == (4096, 4160, 4224)
    with pytest.raises(LayoutError, match="5000 bytes wanted, 3968 left of the 4096"):
        arena.take(5000)


def test_empty_chains_are_refused(device) -> None:
    with pytest.raises(LayoutError, match="at least one layer"):
        device.run([])


def test_counters_and_locks(device) -> None:
    device.set_register("control", Control.CLEAR_COUNTERS)
    before = device.bus.counters
    device.bus.record()
    device.run([layer()])
    after = device.bus.counters
    bursts = [burst for stream in device.bus.reads().values() for burst in stream]
    assert device.register("read_bursts") == len(bursts)
    assert device.register("read_bytes") == sum(burst.size for burst in bursts)
    assert device.register("read_beats") == after.beats_read - before.beats_read
    assert device.register("write_beats") == after.beats_written - before.beats_written
    assert device.register("write_bytes") == 2 * 10 * 64 + 12
    # Windows do not move while the machine runs.
    (address,) = device.prepare(1)
    device.place(layer(), address, 0)
    device.start(address)
    device.set_register("write_base", 0)
    assert device.register("write_base") == device.outputs.base
    device.bus.wait()


def test_what_is_no_register_is_answered_with_an_error(device) -> None:
    with pytest.raises(OSError, match="no register at 0x1fc"):
        device.bus.read_register(0x1FC)
    with pytest.raises(OSError, match="no register to be written at 0x0"):
        device.bus.write_register(0, 1)


def test_descriptors_round_trip_through_memory(device) -> None:
    (address,) = device.prepare(1)
    fields = device.place(layer(), address, 0)
    found = unpack(device.bus.read(address, 128))
    assert {name: found[name] for name in fields} == fields
    assert dataclasses.asdict(device.bus.counters)["violations"] == 0
