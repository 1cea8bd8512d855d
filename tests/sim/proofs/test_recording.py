"""Recordings: what is played is what a lockstep run drives and compares."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.arrays.pod import Pod
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.pod import PodLockstep, random_steps
from dtqatten.sim.proofs.recording import Play, record

CONFIG = Config(rows=1, cols=1, depth=2, d_head=8)


def bench() -> PodLockstep:
    return PodLockstep(CONFIG, random_steps(CONFIG, np.random.default_rng(0), 5))


@pytest.fixture(scope="module")
def pe() -> VerilatedModel:
    return VerilatedModel(Pod(CONFIG, CONFIG.score_width), "pe", reset_cycles=3)


def test_a_device_that_is_right_plays_to_the_end(pe: VerilatedModel) -> None:
    recording = record(pe.inputs, pe.outputs, [Play(bench(), 3), Play(bench(), 3, cycles=7)])
    whole = bench()
    pe.reset()
    while not whole.done:
        whole.check(pe.step(whole.inputs()))
        whole.clock()
    assert len(recording.inputs) == 3 + whole.compared + 3 + 7
    assert pe.replay(recording.inputs, recording.expected, recording.care) is None


def test_the_first_difference_that_matters_is_found(pe: VerilatedModel) -> None:
    recording = record(pe.inputs, pe.outputs, [Play(bench(), 3)])
    acc = [port.name for port in pe.outputs].index("acc")
    expected, care = recording.expected.copy(), recording.care.copy()
    expected[[12, 20], acc] ^= 1
    assert pe.replay(recording.inputs, expected, care) == 12
    care[12] = 0
    assert pe.replay(recording.inputs, expected, care) == 20


def test_an_input_can_be_set_in_every_cycle(pe: VerilatedModel) -> None:
    recording = record(pe.inputs, pe.outputs, [Play(bench(), 3)])
    reset = recording.with_input(0, 1)
    assert (reset.inputs[:, 0] == 1).all()
    assert not recording.inputs[3:, 0].any()
    # In reset the control says that every step is a first one.
    assert pe.replay(reset.inputs, reset.expected, reset.care) is not None


def test_a_model_that_does_not_end_is_reported(pe: VerilatedModel) -> None:
    endless = bench()
    endless.deadline = 5
    with pytest.raises(RuntimeError, match="the model has not finished after 6 cycles"):
        record(pe.inputs, pe.outputs, [Play(endless)])
