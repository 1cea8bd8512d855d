"""The lockstep engine: sources, sinks, deadlines, and that it notices differences."""

from itertools import pairwise

import numpy as np
import pytest

from dtqatten import PRESETS
from dtqatten.sim.engines.bench import MismatchError
from dtqatten.sim.lockstep.score_array import Lockstep, random_head

TINY = PRESETS["tiny"]


def drive(lockstep: Lockstep, spoil=lambda cycle, ports: None) -> list[dict[str, int]]:
    """Play a device that does what the model expects, but for what ``spoil`` changes."""
    inputs = []
    while not lockstep.done:
        inputs.append(lockstep.inputs())
        ports = lockstep.expected()
        spoil(lockstep.model.cycle, ports)
        lockstep.check(ports)
        lockstep.clock()
    return inputs


def heads(count: int = 2) -> list:
    rng = np.random.default_rng(0)
    return [random_head(TINY, rng, queries=5, keys=6, wide_share=0.5) for _ in range(count)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_offers_hold_until_they_are_taken(stall: float) -> None:
    lockstep = Lockstep(TINY, heads(), stall=stall)
    ready: list[dict[str, int]] = []
    inputs = drive(lockstep, lambda _, ports: ready.append(dict(ports)))
    assert lockstep.compared == len(inputs)
    held = 0
    for (before, after), ports in zip(pairwise(inputs), ready, strict=False):
        for side in ("q", "k"):
            if before[f"{side}__valid"] and not ports[f"{side}__ready"]:
                assert after[f"{side}__valid"]
                assert after[f"{side}__payload"] == before[f"{side}__payload"]
                held += 1
    assert held
    paused = sum(not cycle["scores__ready"] for cycle in inputs)
    assert bool(paused) == bool(stall)


def test_a_lazy_sink_is_ready_only_after_valid() -> None:
    lockstep = Lockstep(TINY, heads(), lazy=True)
    ready, valid = [], []

    def watch(cycle: int, ports: dict[str, int]) -> None:
        ready.append(lockstep.inputs()["scores__ready"])
        valid.append(ports["scores__valid"])

    drive(lockstep, watch)
    assert all(v for r, v in zip(ready, valid, strict=True) if r)


@pytest.mark.parametrize(
    "port", ["q__ready", "scores__valid", "scores__payload", "acc", "stalled", "busy_cycles"]
)
def test_one_wrong_bit_is_noticed(port: str) -> None:
    def spoil(cycle: int, ports: dict[str, int]) -> None:
        if port in ports and cycle > 60:
            ports[port] ^= 1

    with pytest.raises(MismatchError, match=rf"cycle \d+: {port} is"):
        drive(Lockstep(TINY, heads()), spoil)


def test_a_deadlock_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    lockstep = Lockstep(TINY, heads())
    lockstep.q.beats.clear()  # the queries never come
    lockstep.deadline = 500
    with pytest.raises(MismatchError, match=r"deadline: 0 of 20 rows after 501 cycles"):
        drive(lockstep)
