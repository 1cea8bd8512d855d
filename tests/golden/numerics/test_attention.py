"""The integer attention block."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.codes import Codes, at_precision, dequantize, quantize
from dtqatten.golden.numerics.importance import IMPORTANCE_MAX, accumulate
from dtqatten.golden.numerics.masks import causal_mask, padding_mask
from dtqatten.golden.numerics.output import requantize
from dtqatten.golden.numerics.reference import reference

GRANULARITIES = ("head", "token")


def random_codes(seed=0, heads=2, n_q=9, n_k=9, d=8, granularity="head", batch=()):
    """Q, K and V with tokens of different size."""
    rng = np.random.default_rng(seed)
    return tuple(
        quantize(
            rng.normal(size=(*batch, heads, n, d)) * rng.uniform(0.2, 2, (*batch, heads, n, 1)),
            granularity,
        )
        for n in (n_q, n_k, n_k)
    )


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("planes", [2, 3])
@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("query", [False, True])
def test_block_equals_the_equations_in_plain_python(
    plain_block, granularity, planes, unsigned, follows, query
):
    options = Options(
        p_planes=planes,
        unsigned_weights=unsigned,
        p_follows_token=follows,
        p_follows_query=query,
    )
    for seed in range(4):
        q, k, v = random_codes(seed, n_q=5, granularity=granularity)
        rng = np.random.default_rng(seed)
        inputs = Inputs(
            q,
            k,
            v,
            rng.choice([0, 4, 8], 5),
            rng.choice([0, 4, 8], 9),
            rng.choice([0, 4, 8], 9),
            rng.random((5, 9)) < 0.7,
        )
        out = attention(inputs, options)
        expected, total = plain_block(inputs, options)
        assert (out.output == expected).all()
        assert (out.importance == total).all()


def test_block_equals_plain_python_on_the_real_trace(plain_block, trace):
    for granularity in GRANULARITIES:
        q, k, v = (quantize(x[:2], granularity) for x in (trace.q, trace.k, trace.v))
        bits = np.where(trace.precision == 0, 4, trace.precision)
        inputs = Inputs(q, k, v, bits, bits, bits)
        out = attention(inputs)
        expected, total = plain_block(inputs, Options())
        assert (out.output == expected).all()
        assert (out.importance == total).all()


@given(st.data())
@settings(max_examples=40)
def test_mixed_precision_equals_reduced_codes(data):
    """A 4-bit token is a token whose codes are ``16 * h``; nothing else knows of precision."""
    n = data.draw(st.integers(1, 8))
    bits = np.array(data.draw(st.lists(st.sampled_from([4, 8]), min_size=n, max_size=n)))
    granularity = data.draw(st.sampled_from(GRANULARITIES))
    codes = random_codes(data.draw(st.integers(0, 99)), n_q=n, n_k=n, granularity=granularity)
    mixed = attention(Inputs(*codes, bits, bits, bits))
    reduced = attention(
        Inputs(*(Codes(at_precision(c.codes, bits[:, None]), c.scale, c.gains) for c in codes))
    )
    assert (mixed.output == reduced.output).all()
    assert (mixed.importance == reduced.importance).all()


@given(st.integers(0, 999), st.sampled_from(GRANULARITIES), st.booleans())
@settings(max_examples=40)
def test_reordering_tokens_permutes_outputs_and_importance(seed, granularity, causal):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    codes = random_codes(seed, n_q=n, n_k=n, granularity=granularity)
    bits = rng.choice([4, 8], n)
    ids = np.arange(n)
    order = rng.permutation(n)
    mask = causal_mask(ids, ids) if causal else None
    moved = causal_mask(ids[order], ids[order]) if causal else None
    straight = attention(Inputs(*codes, bits, bits, bits, mask))
    permuted = attention(Inputs(*(c.take(order) for c in codes), *[bits[order]] * 3, moved))
    assert (permuted.output == straight.output[:, order]).all()
    assert (permuted.importance == straight.importance[order]).all()


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_pruned_tokens_are_as_if_they_were_not_there(granularity):
    codes = random_codes(3, granularity=granularity)
    bits = np.array([8, 0, 4, 4, 0, 8, 0, 8, 4])
    kept = np.flatnonzero(bits)
    here = attention(Inputs(*codes, bits, bits, bits), Options(count_normalize=True))
    gone = attention(
        Inputs(*(c.take(kept) for c in codes), *[bits[kept]] * 3), Options(count_normalize=True)
    )
    assert (here.output[:, kept] == gone.output).all()
    assert (here.importance[kept] == gone.importance).all()
    pruned = bits == 0
    assert not here.output[:, pruned].any()
    assert not here.importance[pruned].any()


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_all_tokens_pruned_but_one(granularity):
    codes = random_codes(4, granularity=granularity)
    bits = np.zeros(9, int)
    bits[6] = 8
    out = attention(Inputs(*codes, bits, bits, bits))
    # Its own value, within one unit of the 16-bit output and half a weight of its gain.
    values = dequantize(codes[2])[:, 6]
    step = out.output_unit[:, None] * (1 if granularity == "head" else 256)
    assert (np.abs(out.values[:, 6] - values) <= step).all()
    assert out.importance.tolist() == [0, 0, 0, 0, 0, 0, 2 * 65535, 0, 0]
    assert not out.output[:, bits == 0].any()


def test_a_single_token_returns_its_value():
    codes = random_codes(5, n_q=1, n_k=1)
    out = attention(Inputs(*codes))
    assert (out.weights.p == 119).all()
    assert (np.abs(out.output - 256 * codes[2].codes.astype(int)) <= 1).all()
    assert out.importance.tolist() == [2 * 65535]


def test_rows_of_identical_scores_average_the_values():
    q, k, v = random_codes(6)
    same = Codes(np.repeat(k.codes[:, :1], 9, 1), k.scale)
    out = attention(Inputs(q, same, v))
    mean = dequantize(v).mean(1, keepdims=True)
    assert (np.abs(out.values - mean) <= out.output_unit[:, None, None]).all()
    assert len(np.unique(out.importance)) == 1
    # 18 rows of 1/9 each; 65536/9 rounds to 7282.
    assert out.importance[0] == 18 * 7282


def test_rows_that_see_nothing_are_zero():
    q, k, v = random_codes(7, granularity="token")
    mask = np.ones((9, 9), bool)
    mask[4] = False
    out = attention(Inputs(q, k, v, mask=mask))
    without = attention(Inputs(q.take(np.delete(np.arange(9), 4)), k, v))
    assert not out.output[:, 4].any()
    assert (out.importance == without.importance).all()
    nothing = attention(Inputs(q, k, v, mask=np.zeros((9, 9), bool)), Options(count_normalize=True))
    assert not nothing.output.any()
    assert not nothing.importance.any()


def test_padding_changes_nothing_that_is_real():
    q, k, v = random_codes(8)
    valid = np.arange(9) < 6
    padded = attention(Inputs(q, k, v, mask=padding_mask(valid, valid)))
    real = attention(Inputs(*(c.take(np.arange(6)) for c in (q, k, v))))
    assert (padded.output[:, :6] == real.output).all()
    assert (padded.importance[:6] == real.importance).all()
    assert not padded.output[:, 6:].any()


def test_decoding_one_query_equals_the_last_row_of_the_prefill():
    q, k, v = random_codes(9, granularity="token")
    ids = np.arange(9)
    prefill = attention(Inputs(q, k, v, mask=causal_mask(ids, ids)))
    decode = attention(Inputs(q.take([8]), k, v))
    assert (decode.output[:, 0] == prefill.output[:, 8]).all()


def test_batches_are_independent():
    q, k, v = random_codes(10, batch=(3,), granularity="token")
    rng = np.random.default_rng(10)
    bits = rng.choice([0, 4, 8], (3, 9))
    mask = rng.random((3, 9, 9)) < 0.8
    together = attention(Inputs(q, k, v, bits, bits, bits, mask), Options(count_normalize=True))
    for b in range(3):
        codes = (Codes(c.codes[b], c.scale[b], c.gains[b]) for c in (q, k, v))
        alone = attention(
            Inputs(*codes, bits[b], bits[b], bits[b], mask[b]), Options(count_normalize=True)
        )
        assert (together.output[b] == alone.output).all()
        assert (together.importance[b] == alone.importance).all()


def test_local_pruning_of_v_leaves_the_weights():
    q, k, v = random_codes(11)
    v_bits = np.array([8] * 8 + [0])
    full, local = attention(Inputs(q, k, v)), attention(Inputs(q, k, v, v_bits=v_bits))
    assert (full.weights.p == local.weights.p).all()
    assert (local.sums == full.weights.p[..., :8] @ v.codes[:, :8].astype(np.int64)).all()


def test_8_bit_output_is_the_16_bit_one_rounded():
    inputs = Inputs(*random_codes(12))
    wide = attention(inputs)
    narrow = attention(inputs, Options(output_bits=8, output_shift=1))
    assert (narrow.output == requantize(wide.output, 1)).all()
    error = np.abs(narrow.values - wide.values)
    unclipped = np.abs(narrow.output.astype(int)) < 119
    assert (error <= narrow.output_unit[:, None, None] * (0.5 + 1e-9))[unclipped].all()


def test_causal_importance_by_count():
    """With equal scores a token's probability is 1/1, 1/2, ... in the rows that see it."""
    n = 6
    codes = quantize(np.zeros((1, n, 2)))
    ids = np.arange(n)
    inputs = Inputs(codes, codes, codes, mask=causal_mask(ids, ids))
    plain, counted = attention(inputs), attention(inputs, Options(count_normalize=True))
    assert plain.importance[0] > 14 * plain.importance[-1]
    assert (counted.importance == plain.importance // (n - ids)).all()


def test_importance_accumulates_across_blocks():
    inputs = Inputs(*random_codes(13))
    first = attention(inputs).importance
    again = attention(Inputs(inputs.q, inputs.k, inputs.v, importance=first)).importance
    assert (again == 2 * first.astype(np.int64)).all()
    assert again.dtype == np.uint32


def test_importance_never_overflows():
    """65537 rows of one fully seen key fill 32 bits exactly; one row more is refused."""
    assert IMPORTANCE_MAX == 65537 * 65535
    one = quantize(np.ones((1, 1, 1)))
    fits = Codes(np.ones((1, 65537, 1), np.int8), one.scale)
    full = attention(Inputs(fits, one, one)).importance
    assert full.tolist() == [IMPORTANCE_MAX]
    long = Codes(np.ones((1, 65538, 1), np.int8), one.scale)
    with pytest.raises(ValueError, match=r"queries is 65538, .* room for 65537 rows: use fewer"):
        attention(Inputs(long, one, one))
    many = Codes(np.ones((65538, 1, 1), np.int8), np.ones(65538))
    with pytest.raises(ValueError, match=r"heads \* queries is 65538"):
        attention(Inputs(many, many, many))
    with pytest.raises(ValueError, match="room for 0 rows: start a new sum"):
        attention(Inputs(one, one, one, importance=full))
    with pytest.raises(ValueError, match="exceeds 4294967295"):
        accumulate(np.array([1]), full)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"p_planes": 1}, r"p_planes is 1: choose one of \(2, 3\)"),
        ({"output_bits": 4}, r"output_bits is 4: choose one of \(8, 16\)"),
        ({"output_bits": 8, "output_shift": 8}, r"output_shift is 8, outside 0..7"),
        ({"output_shift": 1}, "with a 16-bit output"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)


def test_shapes_that_disagree_are_refused():
    q, k, v = random_codes()
    other = random_codes(n_k=8)[1]
    with pytest.raises(ValueError, match="shapes disagree"):
        Inputs(q, other, v)
    for name, value in (
        ("q_bits", np.full(8, 8)),
        ("mask", np.ones((1, 9), bool)),
        ("importance", np.zeros(3)),
    ):
        with pytest.raises(ValueError, match=f"{name} has shape"):
            Inputs(q, k, v, **{name: value})
    long = quantize(np.ones((1, 1025, 1)))
    with pytest.raises(ValueError, match="1025 keys, more than 1024"):
        Inputs(long, long, long)
    with pytest.raises(ValueError, match="precision is"):
        attention(Inputs(q, k, v, q_bits=np.full(9, 5)))


def test_other_softmax_scale():
    q, k, v = random_codes(14)
    out = attention(Inputs(q, k, v), Options(softmax_scale=0.05))
    exact = reference(*(dequantize(c) for c in (q, k, v)), softmax_scale=0.05)
    assert np.abs(out.probability / 65536 - exact.probability).max() < 0.01
