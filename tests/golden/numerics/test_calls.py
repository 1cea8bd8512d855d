"""Layer calls by lists of ids, against operands gathered by hand."""

import numpy as np
import pytest

from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.calls import layer_call, shared
from dtqatten.golden.numerics.codes import Codes, dequantize, quantize
from dtqatten.golden.numerics.reference import distances, reference
from dtqatten.golden.numerics.tokens import CacheImportance, TokenList

QUERIES = TokenList(np.array([9, 3, 12]), 1)
KEYS = TokenList(np.array([2, 7, 11, 0, 5]), 3)


def tensors(granularity="token", heads=4, kv_heads=2, capacity=16):
    rng = np.random.default_rng(0)
    q = rng.normal(size=(heads, 3, 8))
    k, v = rng.normal(size=(2, kv_heads, capacity, 8))
    return [quantize(x, granularity) for x in (q, k, v)]


@pytest.mark.parametrize("granularity", ["head", "token"])
def test_a_call_is_attention_by_position(granularity):
    q, k, v = tensors(granularity)
    sinks = np.array([-256, 0, 256, -(2**15)], np.int16)
    call = layer_call(q, k, v, QUERIES, KEYS, window=8, sinks=sinks, observed=2, segment=2)
    out = attention(call, Options(p_planes=3))
    values = [dequantize(q, QUERIES.bits)]
    values += [dequantize(x, np.full(16, 8))[[0, 0, 1, 1]][:, KEYS.ids] for x in (k, v)]
    for x, codes in zip(values[1:], (k, v), strict=True):
        x[:, :3] = dequantize(codes, np.full(16, 4))[[0, 0, 1, 1]][:, KEYS.ids[:3]]
    behind = distances(QUERIES.ids, KEYS.ids)
    logits = sinks / 256 * np.log(2)
    logits[3] = -np.inf
    exact = reference(*values, (behind >= 0) & (behind < 8), sinks=logits)
    assert np.abs(out.values - exact.output).max() < 0.02 * np.abs(values[2]).max()
    assert np.abs(out.probability / 65536 - exact.probability).max() < 0.01
    # The queries at 9 and 12 are the latest two.
    counted = out.probability[:, [0, 2]].sum((0, 1))
    assert out.importance.tolist() == counted.tolist()
    assert len(out.partials) == 3


def test_heads_are_shared_in_turn():
    q, k, v = tensors()
    call = layer_call(q, k, v, QUERIES, KEYS)
    for head in range(4):
        few = [
            Codes(c.codes[[at]], c.scale[[at]], c.gains[[at]])
            for c, at in ((q, head), (k, head // 2), (v, head // 2))
        ]
        alone = attention(layer_call(*few, QUERIES, KEYS))
        assert (attention(call).output[[head]] == alone.output).all()
    with pytest.raises(ValueError, match="3 query heads cannot share 2 of K and V"):
        shared(k, 3)


def test_tiles_promote_each_list_by_itself():
    q, k, v = tensors()
    call = layer_call(q, k, v, QUERIES, KEYS, tile=(2, 2, 3))
    assert call.q_bits.tolist() == [8, 8, 8]
    assert call.k_bits.tolist() == [4, 4, 8, 8, 8]
    assert call.v_bits.tolist() == [4, 4, 4, 8, 8]


def test_importance_is_read_and_written_by_id():
    q, k, v = tensors()
    held = CacheImportance(np.arange(100, 116, dtype=np.uint32))
    out = attention(layer_call(q, k, v, QUERIES, KEYS, held=held))
    added = attention(layer_call(q, k, v, QUERIES, KEYS)).importance
    after = held.written(KEYS.ids, out.importance)
    expected = np.arange(100, 116)
    for i, amount in zip(KEYS.ids, added, strict=True):
        expected[i] += amount
    assert after.values.tolist() == expected.tolist()


def test_cross_attention_sees_all():
    q, k, v = tensors()
    call = layer_call(q, k, v, QUERIES, KEYS, causal=False)
    assert isinstance(call, Inputs)
    assert call.visible().all()


def test_lists_of_other_tensors_are_refused():
    q, k, v = tensors()
    with pytest.raises(ValueError, match="Q has 3 tokens, but the list 2"):
        layer_call(q, k, v, TokenList.all(2), KEYS)
    with pytest.raises(ValueError, match="key 16 is beyond the cache of 16"):
        layer_call(q, k, v, QUERIES, TokenList(np.array([16])))
    with pytest.raises(ValueError, match="n is 0"):
        layer_call(q, k, v, QUERIES, TokenList(np.arange(0)))
