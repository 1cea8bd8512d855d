"""Fault injection: every kind through the driver, and that it counts what goes wrong."""

import dataclasses
import functools

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.chain import Chain
from dtqatten.driver.device import Device
from dtqatten.sim.machine.axi import simulated_device
from dtqatten.sim.machine.faults import inject, summary

SYSTEM = SystemConfig(
    core=Config(rows=4, cols=4, depth=4, d_head=32, n_max=40, heads=12), bus_bits=64, burst_beats=4
)


@functools.cache
def device() -> Device:
    return simulated_device(SYSTEM, timeout=400_000, optimize=0)


def test_every_kind_of_fault_is_recovered_from() -> None:
    *_, (tally, kinds) = inject(device(), 18, seed=1)
    assert set(kinds.values()) == {2}
    found = summary(tally, kinds)
    unseen = found.pop("unseen")
    assert unseen < 12
    assert found == {
        "faults": 18,
        "recovered": 18,
        "by_kind": {kind.value: count for kind, count in kinds.items()},
    } | dict.fromkeys(
        ("hangs", "false_done", "unexpected", "stray_reads", "stray_writes", "violations"), 0
    )


def test_wrong_results_are_no_recovery(monkeypatch) -> None:
    injected = inject(device(), 2, seed=2)
    tally, _ = next(injected)
    assert tally.recovered == 1
    collect = Chain._collect
    monkeypatch.setattr(
        Chain,
        "_collect",
        lambda *arguments: (lambda result: dataclasses.replace(result, output=result.output ^ 1))(
            collect(*arguments)
        ),
    )
    tally, _ = next(injected)
    assert (tally.faults, tally.recovered) == (2, 1)
