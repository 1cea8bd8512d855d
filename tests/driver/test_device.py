"""The driver against a machine: errors by code, waiting for the host, counters."""

import dataclasses

import numpy as np
import pytest

from driven import BASE, layer
from dtqatten.configuration.system import ReadStream
from dtqatten.driver.chain import Chain
from dtqatten.driver.device import Device
from dtqatten.driver.errors import EXCEPTIONS, AbortedError
from dtqatten.driver.expected import compare_results, expected
from dtqatten.driver.layers import Layer
from dtqatten.golden.memory import layer_reads
from dtqatten.golden.numerics.codes import quantize
from dtqatten.interface.descriptor import SIZE, VERSION, Flag, pack, unpack
from dtqatten.interface.registers import Control, ErrorCode, Interrupt, Status
from dtqatten.sim.machine.interposed import InterposedBus
from dtqatten.sim.machine.samples import DRIVEN


@pytest.fixture
def device(machine, plain) -> Device:
    return machine


def refusal(device: Device, code: ErrorCode, **changes: int) -> int:
    """Run a good layer whose descriptor has some fields changed; return the error's address."""
    between = InterposedBus(device.bus)
    between.spoil = lambda address, fields: fields | changes
    with pytest.raises(EXCEPTIONS[code]) as caught:
        Device(between, device.inputs, device.outputs).run([layer()])
    assert caught.value.layers_done == 0
    return caught.value.address


@pytest.mark.parametrize(
    ("code", "changes", "address"),
    [
        (ErrorCode.VERSION, {"magic": 1}, None),
        (ErrorCode.VERSION, {"version": VERSION - 1}, None),
        (ErrorCode.FLAGS, {"flags": 1 << 20}, None),
        (ErrorCode.FLAGS, {"output_shift": 1}, None),
        (ErrorCode.NO_HEADS, {"heads": 0}, None),
        (ErrorCode.TOO_MANY_HEADS, {"heads": 13}, None),
        (ErrorCode.KV_HEADS, {"kv_heads": 0}, None),
        (ErrorCode.KV_HEADS, {"heads": 3}, None),
        (ErrorCode.FLAGS, {"flags": int(Flag.QUERY_CHAINED)}, None),
        (ErrorCode.NO_TOKENS, {"stored": 0}, None),
        (ErrorCode.NO_TOKENS, {"queries": 0}, None),
        (ErrorCode.TOO_MANY_TOKENS, {"stored": 41, "tokens": 41}, None),
        (ErrorCode.TOKENS, {"tokens": 9}, None),
        (ErrorCode.TOO_MANY_TOKENS, {"queries": 41}, None),
        (ErrorCode.TOKENS, {"four_bit": 11}, None),
        (ErrorCode.QUERIES, {"query_four_bit": 11}, None),
        (ErrorCode.CAPACITY, {"capacity": 9}, None),
        (ErrorCode.CAPACITY, {"capacity": 101}, None),
        (ErrorCode.POSITIONS, {"query_start": 91}, None),
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
    assert refusal(device, code, **changes) == (BASE if address is None else address)
    assert not device.bus.writes()
    assert [stream.name for stream, reads in device.bus.reads().items() if reads] == ["DESCRIPTOR"]
    good = layer()
    compare_results([good], device.run([good]), expected(DRIVEN.core, [good]))


def test_an_error_ahead_lets_the_layer_before_it_end(device) -> None:
    first, second = layer(), layer(seed=3)
    with Chain(device, 2) as chain:
        chain.add(first)
        chain.add(second)
        address, fields = device.chain[1]
        device.bus.write(address, pack(fields | {"k1": 7}))
        with pytest.raises(EXCEPTIONS[ErrorCode.K1]) as caught:
            chain.run()
    assert caught.value.address == address
    assert caught.value.layers_done == 1
    compare_results([first], chain.results, expected(DRIVEN.core, [first]))


@pytest.mark.parametrize(
    ("name", "at", "value", "code"),
    [
        ("head_table", 10, 41, ErrorCode.HEAD_TABLE),
        ("head_table", 3, 1, ErrorCode.HEAD_TABLE),
        ("k_gains", 13, 0, ErrorCode.GAIN),
    ],
)
def test_head_tables_and_gains_are_checked_as_they_come(device, name, at, value, code) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (quantize(rng.normal(size=(2, 10, 32)), kind) for kind in ("head", "token", "head"))
    with Chain(device, 1) as chain:
        chain.add(Layer(q=q, k=k, v=v, k0=6, k1=2))
        start = device.chain[0][1][name]
        device.bus.write(start + at, bytes([value]))
        with pytest.raises(EXCEPTIONS[code]) as caught:
            chain.run()
    entry = at // 8 * 8 if code == ErrorCode.HEAD_TABLE else at
    assert caught.value.address == start + entry
    assert caught.value.layers_done == 0
    good = layer(seed=2)
    compare_results([good], device.run([good]), expected(DRIVEN.core, [good]))


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
    device.run([layer()])  # programs the windows
    end = device.register(name)
    device.set_register(name, end + far)
    device.bus.record()
    device.set_register("interrupt_enable", Interrupt.DONE)
    device.set_register("control", Control.START)
    device.bus.wait()
    assert device.register("error_code") == ErrorCode.WINDOW
    assert device.register("error_address") == end + far
    assert not any(device.bus.reads().values())


@pytest.mark.parametrize("command", [Control.ABORT, Control.START | Control.ABORT])
def test_an_abort_starts_nothing(device, command) -> None:
    device.run([layer()])
    device.bus.record()
    device.set_register("control", command)
    device.bus.run(200)
    assert device.register("status") == 0
    assert device.register("layers_done") == 1
    assert device.register("interrupt") == 0
    assert not any(device.bus.reads().values())


def test_registers_tell_all_that_results_depend_on(device) -> None:
    core = DRIVEN.core
    expected_sizes = {
        "version": 3, "rows": core.rows, "cols": core.cols, "value_depth": core.group,
        "planes": core.planes, "depth": core.depth, "d_head": core.d_head, "n_max": core.n_max,
        "heads": core.heads, "bus_bits": DRIVEN.bus_bits, "address_bits": DRIVEN.address_bits,
        "capacity": core.positions,
    }  # fmt: skip
    assert {name: device.register(name) for name in expected_sizes} == expected_sizes


def test_a_region_that_ends_outside_is_refused(device) -> None:
    """The last page of the window holds its beginning, not its end."""
    at = device.outputs.last + 1 - 4096
    assert refusal(device, ErrorCode.WRITE_WINDOW, output=at, heads=9, kv_heads=9) == at


@pytest.mark.parametrize("first", [BASE + 32, 0, 1 << 60])
def test_a_bad_first_descriptor_is_refused(device, first) -> None:
    device.run([layer()])  # programs the windows
    device.set_register("descriptor", first)
    device.set_register("control", Control.START)
    device.bus.run(100)
    assert device.status == Status.ERROR
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
    compare_results([good], device.run([good]), expected(DRIVEN.core, [good]))


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
    compare_results(chain, results, expected(DRIVEN.core, chain))
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
    counts = {s: len(b) for s, b in layer_reads(DRIVEN, 0, first).items()}
    for stream in (ReadStream.Q_HIGH, ReadStream.K_HIGH, ReadStream.V_HIGH):
        assert reads[stream][counts[stream] // 2] < outputs[half - 1]
        assert reads[stream][counts[stream]] < outputs[-1]
    assert reads[ReadStream.DESCRIPTOR][counts[ReadStream.DESCRIPTOR]] < outputs[0]


def test_abort_at_any_time(device) -> None:
    chain = [layer(), layer(chained=True, tokens=10, k0=3, k1=1, seed=4)]
    golden = expected(DRIVEN.core, chain)
    between = InterposedBus(device.bus)
    driver = Device(between, device.inputs, device.outputs)
    aborted = 0
    for cycles in range(1, 2500, 371):

        def abort(cycles=cycles):
            device.bus.run(cycles)
            driver.abort()

        between.before_wait = abort
        try:
            compare_results(chain, driver.run(chain), golden)  # the abort came too late
            assert driver.status == Status(0)
        except AbortedError:
            assert driver.status == Status.ABORTED
            aborted += 1
        compare_results(chain, driver.run(chain), golden)
    assert aborted >= 3


def test_an_abort_is_an_exception(device) -> None:
    def never(result):
        device.abort()
        return layer(chained=True, tokens=10)

    with pytest.raises(AbortedError, match="after 1 complete layers"):
        device.run([layer(), never])


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
    # Windows do not move while the machine runs, or waits.
    with Chain(device, 2) as chain:
        chain.add(layer())
        chain.run()
        device.set_register("write_base", 0)
        assert device.register("write_base") == device.outputs.base


def test_what_is_no_register_is_answered_with_an_error(device) -> None:
    with pytest.raises(OSError, match="no register at 0x1fc"):
        device.bus.read_register(0x1FC)
    with pytest.raises(OSError, match="no register to be written at 0x0"):
        device.bus.write_register(0, 1)


def test_descriptors_round_trip_through_memory(device) -> None:
    device.run([layer()])
    ((address, fields),) = device.chain
    found = unpack(device.bus.read(address, SIZE))
    assert {name: found[name] for name in fields} == fields
    assert dataclasses.asdict(device.bus.counters)["violations"] == 0
