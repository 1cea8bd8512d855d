"""Biases of keys on the machine: caches and soft masks, faults, and what is refused."""

import numpy as np
import pytest

from chain_systems import SYSTEMS
from dtqatten.configuration.system import ReadStream
from dtqatten.driver.cache import Cache
from dtqatten.driver.calls import Call
from dtqatten.driver.device import Device
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.expected import compare_results, expected
from dtqatten.driver.layers import Layer
from dtqatten.golden.memory import layer_reads
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.score_terms import quantize_key_bias
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device
from dtqatten.sim.machine.faults import inject

#: A machine of the tests of chains, so that it is compiled once.
SYSTEM = SYSTEMS["biases of grouped heads"]
D, HEADS, GROUP = 8, 2, 3


@pytest.fixture(scope="module")
def device() -> Device:
    return simulated_device(SYSTEM, timeout=400_000, optimize=0)


def tokens(rng: np.random.Generator, count: int):
    k, v = (quantize(rng.normal(size=(HEADS, count, D))) for _ in range(2))
    return k, v, quantize_key_bias(3 * rng.normal(size=(HEADS * GROUP, count)))


def test_a_decode_loop_of_grouped_heads(device) -> None:
    """Step by step, beyond the keys of a segment; some tokens are evicted, some in 4 bits."""
    rng = np.random.default_rng(1)
    k, v, bias = tokens(rng, 26)
    cache = Cache(device, 64, k.scale, v.scale, biased=HEADS * GROUP)
    assert isinstance(device.bus, SimulatedBus)
    for first, count in ((0, 3), *((i, 1) for i in range(3, 26))):
        new = np.arange(first, first + count)
        cache.append(k.take(new), v.take(new), bias[:, new])
        if first == 9:
            cache.evict([0, 3, 4])
        q = quantize(rng.normal(size=(HEADS * GROUP, count, D)))
        keys = cache.keys(four_bit=[1, 2, 5]) if first % 2 else None
        call = cache.call(q, TokenList(new), keys)
        assert call.grouped
        device.bus.record()
        compare_results([call], device.run([call]), expected(SYSTEM.core, [call]))
        if len(call.keys) <= SYSTEM.core.n_max:
            # Of the keys of the list alone, 2 bytes for each query head.
            (address, fields), *_ = device.chain
            wanted = layer_reads(SYSTEM, address, fields, call.keys.ids)[ReadStream.KEY_BIAS]
            assert device.bus.reads()[ReadStream.KEY_BIAS] == wanted
            assert sum(burst.size for burst in wanted) >= 2 * HEADS * GROUP * len(call.keys)
    assert np.array_equal(cache.key_bias[:, :26], bias)


def test_a_soft_mask_hides_what_a_list_leaves_out(device) -> None:
    rng = np.random.default_rng(2)
    k, v, _ = tokens(rng, 12)
    q = quantize(rng.normal(size=(HEADS * GROUP, 2, D)))
    hidden = np.arange(12) % 4 == 1
    soft = np.broadcast_to(np.where(hidden, -30000, 0), (HEADS * GROUP, 12)).astype(np.int16)
    calls = [
        Call(q=q, k=k, v=v, queries=TokenList(np.array([20, 21])), keys=TokenList(ids), **options)
        for ids, options in (
            (np.arange(12), {"key_bias": soft}),
            (np.flatnonzero(~hidden), {}),
            (np.arange(12), {}),
        )
    ]
    masked, listed, whole = (device.run([call])[0].output for call in calls)
    assert np.array_equal(masked, listed)
    assert not np.array_equal(masked, whole)


def test_layers_take_biases_or_none(device) -> None:
    """In one chain; with the largest of either sign, and of one query head that stands out."""
    rng = np.random.default_rng(3)
    layers = []
    for number, most in enumerate((0, 32767, 500, 0)):
        x = [quantize(rng.normal(size=(4, 12, D))) for _ in range(3)]
        bias = rng.integers(-most - 1, most + 1, (4, 12)).astype(np.int16)
        bias[2] = bias[2] // 2
        given = {"key_bias": bias} if most else {}
        layers.append(
            Layer(q=x[0], k=x[1], v=x[2], k0=12, k1=5, report=True, chained=number > 0, **given)
        )
    compare_results(layers, device.run(layers), expected(SYSTEM.core, layers))


def test_faults_leave_no_biases_behind(device) -> None:
    *_, (tally, kinds) = inject(device, 20, seed=4)
    assert tally.recovered == sum(kinds.values()) == 20
    wrong = (tally.hangs, tally.false_done, tally.unexpected, tally.stray_reads, tally.stray_writes)
    assert (*wrong, tally.violations) == (0,) * 6


def test_what_does_not_fit_is_refused(device) -> None:
    rng = np.random.default_rng(5)
    k, v, bias = tokens(rng, 4)
    q = quantize(rng.normal(size=(HEADS * GROUP, 1, D)))
    one = TokenList(np.array([3]))
    four = TokenList(np.arange(4))
    given = {"q": q, "k": k, "v": v, "queries": one, "keys": four}
    for wrong in (bias[:, 1:], bias[1:], bias.astype(np.int32)):
        with pytest.raises(LayoutError, match=r"key_bias is .* give int16 of \(6, 4\)"):
            device.run([Call(**given, key_bias=wrong)])
    many = quantize(rng.normal(size=(8, 1, D)))
    with pytest.raises(LayoutError, match=r"4 query heads of a group with key_bias, more .* 3"):
        device.run([Call(**given | {"q": many}, grouped=True, key_bias=np.zeros((8, 4), np.int16))])
    cache = Cache(device, 8, k.scale, v.scale, biased=HEADS * GROUP)
    for wrong in (None, bias[:, 1:], bias[1:], np.full(bias.shape, 40_000)):
        with pytest.raises(LayoutError, match=r"key_bias is .* give int16 of \(6, 4\)"):
            cache.append(k, v, wrong)
    assert not len(cache)
    plain = Cache(device, 8, k.scale, v.scale)
    with pytest.raises(LayoutError, match="keys of the cache have none: make it with biased"):
        plain.append(k, v, bias)
    core = SYSTEM.core.replace(bias_heads=0)
    with pytest.raises(LayoutError, match=r"machine has no biases of keys: .* bias_heads"):
        expected(core, [Call(**given, key_bias=bias)])
