"""Fault injection: every kind through the driver, and that it counts what goes wrong."""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest

from dtqatten.driver.chain import Chain
from dtqatten.driver.device import Device
from dtqatten.driver.errors import EXCEPTIONS
from dtqatten.driver.expected import compare_results, expected
from dtqatten.interface.descriptor import Flag
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.machine.axi import simulated_device
from dtqatten.sim.machine.chains import random_chain
from dtqatten.sim.machine.faults import inject, list_spoiler, summary
from dtqatten.sim.machine.interposed import InterposedBus
from dtqatten.sim.machine.samples import DRIVEN


@functools.cache
def device() -> Device:
    return simulated_device(DRIVEN, timeout=400_000, optimize=0)


def test_every_kind_of_fault_is_recovered_from() -> None:
    *_, (tally, kinds) = inject(device(), 20, seed=1)
    assert set(kinds.values()) == {2}
    found = summary(tally, kinds)
    unseen = found.pop("unseen")
    assert unseen < 12
    assert found == {
        "faults": 20,
        "recovered": 20,
        "by_kind": {kind.value: count for kind, count in kinds.items()},
    } | dict.fromkeys(
        ("hangs", "false_done", "unexpected", "stray_reads", "stray_writes", "violations"), 0
    )


def test_a_bad_list_is_refused_by_name() -> None:
    """Not all chains have lists: of those that have, each is refused with the place of the id."""
    machine = device()
    bus = InterposedBus(machine.bus)
    spoiled = Device(bus, machine.inputs, machine.outputs)
    rng = np.random.default_rng(0)
    refused = 0
    while refused < 6:
        chain = random_chain(DRIVEN.core, rng, layers=1, calls=1.0)
        listed = chain[0].flags & (Flag.QUERY_LIST | Flag.KEY_LIST)
        bus.spoil = list_spoiler(machine.bus, rng)
        if not listed:
            compare_results(chain, spoiled.run(chain), expected(DRIVEN.core, chain))
            continue
        with pytest.raises(EXCEPTIONS[ErrorCode.LIST]) as told:
            spoiled.run(chain)
        # The list of queries is read first.
        name = "query_list" if Flag.QUERY_LIST in listed else "key_list"
        (fields,) = (fields for _, fields in spoiled.chain)
        place, count = fields[name], fields["queries" if name == "query_list" else "tokens"]
        assert told.value.address in range(place, place + 2 * count, 2)
        assert machine.bus.read(told.value.address, 2) == b"\xff\xff"
        refused += 1


def test_wrong_results_are_no_recovery(monkeypatch) -> None:
    injected = inject(device(), 2, seed=2)
    tally, _ = next(injected)
    assert tally.recovered == 1
    collect = Chain._collect

    def collect_wrongly(chain: Chain, step: Any) -> None:
        collect(chain, step)
        right = chain.results.pop()
        chain.results.append(dataclasses.replace(right, output=right.output ^ 1))

    monkeypatch.setattr(Chain, "_collect", collect_wrongly)
    tally, _ = next(injected)
    assert (tally.faults, tally.recovered) == (2, 1)
