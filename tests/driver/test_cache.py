"""A cache on the device: tokens written once, evicted from lists, decoded step by step."""

import numpy as np
import pytest

from dtqatten.driver.cache import Cache
from dtqatten.driver.device import Device
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.expected import compare_results, expected
from dtqatten.golden.memory import tensor_bytes
from dtqatten.golden.numerics.codes import Codes, quantize
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.sim.machine.samples import DRIVEN

D, HEADS = 32, 2


@pytest.fixture
def device(machine, plain) -> Device:
    """The machine, whose caches end with the test."""
    kept = machine.inputs._top
    yield machine
    machine.inputs._top = kept


def cache_and_tokens(device: Device, capacity: int, count: int, *, gains: bool = False):
    rng = np.random.default_rng(count)
    kind = "token" if gains else "head"
    k = quantize(rng.normal(size=(HEADS, count, D)), kind)
    v = quantize(rng.normal(size=(HEADS, count, D)))
    return Cache(device, capacity, k.scale, v.scale, k_gains=gains), k, v


@pytest.mark.parametrize("gains", [False, True])
def test_a_decode_loop(device, gains: bool) -> None:
    """A prompt in two chunks, then step by step; tokens are evicted, some go on in 4 bits."""
    rng = np.random.default_rng(5)
    cache, k, v = cache_and_tokens(device, 60, 30, gains=gains)
    for first, count in ((0, 8), (8, 6), *((i, 1) for i in range(14, 30))):
        new = np.arange(first, first + count)
        assert np.array_equal(cache.append(k.take(new), v.take(new)), new)
        if first == 20:
            cache.evict([0, 3, 4, 17])
            assert len(cache) == 17
        q = quantize(rng.normal(size=(4, count, D)))
        keys = cache.keys(four_bit=[1, 2, 5, 16]) if first % 2 else None
        call = cache.call(q, TokenList(new), keys, report=True)
        compare_results([call], device.run([call]), expected(DRIVEN.core, [call]))
    assert np.array_equal(cache.ids, np.setdiff1d(np.arange(30), [0, 3, 4, 17]))


def test_tokens_are_at_their_places(device) -> None:
    cache, k, v = cache_and_tokens(device, 7, 6, gains=True)
    for part in ([0], [1, 2, 3, 4], [5]):
        cache.append(k.take(part), v.take(part))
    whole = {"k": tensor_bytes(cache.k.codes), "v": tensor_bytes(cache.v.codes)}
    vector = D // 2
    for name, raw in whole.items():
        found = device.bus.read(cache.placed[name], len(raw))
        for plane in range(2 * HEADS):
            at = plane * 7 * vector
            assert found[at : at + 6 * vector] == raw[at : at + 6 * vector]
    for head in range(HEADS):
        at = cache.placed["k_gains"] + head * 7
        assert device.bus.read(at, 6) == k.gains[head].tobytes()


def test_runs_do_not_touch_what_is_kept(device) -> None:
    cache, k, v = cache_and_tokens(device, 20, 20)
    cache.append(k, v)
    before = device.bus.read(cache.placed["k"], HEADS * 20 * D)
    q = quantize(np.ones((2, 1, D)))
    call = cache.call(q, TokenList.all(1, start=19))
    for _ in range(2):
        compare_results([call], device.run([call]), expected(DRIVEN.core, [call]))
    assert device.bus.read(cache.placed["k"], HEADS * 20 * D) == before
    # Its tensors are not written again.
    assert set(call.contents()) == {"q", "head_table"}


def test_what_a_cache_cannot_do_is_refused(device) -> None:
    cache, k, v = cache_and_tokens(device, 5, 6)
    q = quantize(np.ones((2, 1, D)))
    with pytest.raises(LayoutError, match="there are no keys"):
        cache.call(q, TokenList.all(1))
    with pytest.raises(LayoutError, match="6 tokens more than 0 are beyond the cache's 5 places"):
        cache.append(k, v)
    two = [0, 1]
    cache.append(k.take(two), v.take(two))
    for bad_k, bad_v, message in (
        (quantize(np.ones((HEADS, 2, D))), v.take(two), "K has scales of its own"),
        (k.take(two), v.take([0]), "V has shape"),
        (quantize(np.ones((3, 2, D))), v.take(two), "K has shape"),
        (quantize(np.ones((HEADS, 2, D)) / 99, "token", scale=k.scale), v.take(two),
         "K is of another granularity than the cache, which has no gains"),
    ):  # fmt: skip
        with pytest.raises(LayoutError, match=message):
            cache.append(bad_k, bad_v)
    cache.evict([0])
    for action, message in (
        (lambda: cache.evict([0]), "token 0 is not in the cache"),
        (lambda: cache.evict([2]), "token 2 is not in the cache"),
        (lambda: cache.call(q, TokenList.all(1), TokenList.all(2)), "key 0 is not in the cache"),
    ):
        with pytest.raises(LayoutError, match=message):
            action()
    gained = Cache(device, 5, k.scale, v.scale, k_gains=True, v_gains=True)
    ones = np.ones((HEADS, 2, D))
    gk, gv = (quantize(ones, "token", scale=x.scale) for x in (k, v))
    negative = -np.ones((HEADS, 2), np.int64)
    wrong_k, wrong_v = (Codes(x.codes, x.scale, negative) for x in (gk, gv))
    for keys, values, name in ((wrong_k, gv, "K"), (gk, wrong_v, "V")):
        before = device.bus.read(gained.placed["k"], 64)
        with pytest.raises(LayoutError, match=f"a gain of {name} is -.* without signed_gains"):
            gained.append(keys, values)
        assert device.bus.read(gained.placed["k"], 64) == before
    with pytest.raises(LayoutError, match="a cache of 101 tokens, but the machine has places"):
        Cache(device, 101, k.scale, v.scale)
    with pytest.raises(LayoutError, match=r"scales of shapes \(2,\) and \(3,\)"):
        Cache(device, 5, k.scale, np.ones(3))
