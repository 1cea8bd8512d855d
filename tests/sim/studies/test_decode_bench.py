"""The benchmark of decode steps, at a small size."""

import pytest

from dtqatten import Config
from dtqatten.configuration.system import ReadStream
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device
from dtqatten.sim.studies import decode_bench
from dtqatten.sim.studies.decode_bench import (
    LATENCY,
    SHARES,
    Shape,
    decode_step,
    machine,
    measure_decode,
)

K_HIGH, K_LOW, V_HIGH, V_LOW = (
    ReadStream.K_HIGH,
    ReadStream.K_LOW,
    ReadStream.V_HIGH,
    ReadStream.V_LOW,
)
CORE = Config(rows=4, cols=8, depth=8, d_head=32, value_depth=8, n_max=256)
SMALL = Shape(layers=2, kv_heads=4, group=3, d=32, run=2)


@pytest.mark.long
def test_a_small_step_is_bound_by_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decode_bench.SHAPES, "small", SMALL)
    kept: list[int] = []

    def measure(lengths: tuple[int, ...], known: list[dict]) -> dict:
        return measure_decode(
            CORE,
            lambda _: None,
            lengths=lengths,
            shapes=("small",),
            buses=(64,),
            known=known,
            keep=lambda result: kept.append(len(result["steps"])),
            optimize=0,
        )

    found = measure((256,), [])
    assert kept == [1, 2, 3, 4]
    # What is known of this machine is not measured again, that of another one or order is.
    changed = [found["steps"][0] | {"machine": "another"}, found["steps"][1] | {"segments": [1]}]
    again = measure((256, 600), found["steps"][2:] + changed)
    assert kept == [1, 2, 3, 4, 3, 4, 5, 6, 7, 8]
    long = [step for step in again["steps"] if step["tokens"] == 600]
    # Three segments, the last of which is shorter: the bus is as busy, but for the end.
    assert all(step["bus_busy"] > 0.9 for step in long)
    # Of 256, 256 and 88 keys; those of 8 bits come first.
    assert [step["segments"] for step in long] == [[0, 1, 2], [1, 0, 2], [1, 0, 2], [0, 1, 2]]
    steps = {step["share"]: step for step in found["steps"]}
    assert set(steps) == set(SHARES)
    four, mixed, eight = (steps[share] for share in ("4 bit", "74 / 26", "8 bit"))
    for step in steps.values():
        # All the time until the last key is here; then only its values are multiplied.
        words = step["bus_busy"] * step["cycles"]
        assert words > 0.97 * (step["cycles"] - step["tail"])
        assert 0.8 < step["bus_busy"] < step["bus_busy_chained"] < 1
        assert 1 <= step["bytes_ratio"] < 1.08
        # A key of K and one of V, of 16 or 32 bytes, at 8 bytes a cycle.
        assert step["cycles"] == pytest.approx(step["cycles_per_token"] * 256 * 2)
        per_key = 1e9 / step["tokens_per_s_per_gb_s"] / 2 / 4 / 256
        assert per_key == pytest.approx(step["cycles_per_token"] * 8)
        assert step["dense_8_bit"] == 2 * step["dense_16_bit"]
    # Classes that fill their tiles are read in their own bits.
    assert steps["75 / 25"]["bytes_ratio"] == pytest.approx(four["bytes_ratio"], abs=0.01)
    assert 4 < four["cycles_per_token"] < mixed["cycles_per_token"] < eight["cycles_per_token"]


@pytest.mark.long
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_keys_of_a_head_are_requested_before_its_values(share: float) -> None:
    """Those that end amid a burst too: scores wait for the last one, and P x V for scores."""
    device = simulated_device(machine(CORE, 32, 64), size=1 << 22, timeout=100_000, optimize=0)
    bus = device.bus
    assert isinstance(bus, SimulatedBus)
    bus.configure(latency=(LATENCY, LATENCY))
    bus.record()
    device.run([decode_step(SMALL, 250, share)])
    keys, values = (
        sorted(c for s in planes for c in bus.read_cycles(s))
        for planes in ((K_HIGH, K_LOW), (V_HIGH, V_LOW))
    )
    # Half of the values of the last of two heads are three quarters of all.
    assert keys[-1] < values[len(values) * 3 // 4]


def test_keys_of_eight_bits_are_anywhere() -> None:
    call = decode_step(SMALL, 100, 0.26)
    assert call.keys is not None
    assert (len(call.keys), call.keys.four_bit, call.group) == (100, 74, 3)
    assert call.listed
