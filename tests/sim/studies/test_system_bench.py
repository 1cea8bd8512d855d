"""The benchmark of the machine on a bus, at a small size."""

import pytest

from dtqatten import Config
from dtqatten.model.workload import Workload
from dtqatten.sim.studies.system_bench import measure_system

#: A machine of the tests of chains, so that it is compiled once.
CORE = Config(rows=2, cols=8, depth=2, d_head=8, n_max=12, heads=9)


def test_a_small_layer_is_measured() -> None:
    heard: list[str] = []
    workload = Workload(tokens=12, d_head=8)
    found = measure_system(
        CORE, workload, 3, 500, heard.append, buses=(256,), latencies=(1, 150), optimize=0
    )
    assert heard == ["compiling, 256 bits", "256 bits, latency 1", "256 bits, latency 150"]
    near, far = (found["cycles"]["256"][latency] for latency in ("1", "150"))
    assert near < far
    assert found["dma_overhead"]["256"]["1"] == pytest.approx(near / 500 - 1)
    assert found["bytes_ratio"]["256"]["1"] == found["bytes_ratio"]["256"]["150"] > 1
    counters = found["counters"]["256"]["1"]
    # Vectors of 4 bytes do not move whole words of 32.
    assert counters["read_bytes"] < 16 * counters["read_beats"]
    # Both layers of the chain: outputs of 16 bits, and the ids that they keep.
    outputs = 2 * 8 * (12 + 3 * found["kept"])
    assert outputs < counters["write_bytes"] <= outputs + 2 * (12 + found["kept"])
    units = ("score_array", "softmax", "value_array", "normalizer", "module_b")
    assert all(0 < counters[f"{unit}_busy"] <= counters["cycles"] for unit in units)
