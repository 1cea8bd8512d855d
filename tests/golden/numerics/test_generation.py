"""Layer calls of generation: queries apart from keys, segments, steps, lists in any order."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.codes import Codes, dequantize, quantize
from dtqatten.golden.numerics.masks import latest, position_mask
from dtqatten.golden.numerics.reference import distances, reference
from dtqatten.golden.numerics.segments import equal_cuts
from dtqatten.golden.numerics.select import protected, select
from dtqatten.golden.numerics.sinks import quantize_sinks
from dtqatten.golden.numerics.tokens import CacheImportance, TokenList

GRANULARITIES = ("head", "token")


def cuts_of(data, n):
    return tuple(data.draw(st.lists(st.integers(1, n - 1), unique=True, max_size=6).map(sorted)))


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("planes", [2, 3])
def test_segments_equal_plain_python(random_codes, plain_block, granularity, planes):
    """Mixed precisions, all masks, every option that shapes a weight."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        codes = random_codes(seed, granularity, n=16, size=1.5)
        options = Options(
            p_planes=planes, p_follows_token=seed % 2 == 0, p_follows_query=seed % 3 == 0
        )
        inputs = Inputs(
            *codes,
            rng.choice([4, 8], 5),
            rng.choice([0, 4, 8], 16),
            rng.choice([0, 4, 8], 16),
            position_mask(rng.permutation(40)[:5], rng.permutation(40)[:16], window=int(30 - seed)),
            cuts=((), (1,), (15,), (8,), (3, 4, 9), tuple(range(1, 16)))[seed],
            observed=None if seed % 2 else np.array([True, False, True, True, False]),
            order=(None, None, (1, 0), None, (2, 3, 0, 1), tuple(range(15, -1, -1)))[seed],
        )
        out = attention(inputs, options)
        expected, total = plain_block(inputs, options)
        assert (out.output == expected).all()
        assert (out.importance == total).all()


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_one_segment_is_the_block(random_codes, granularity):
    """Neither an empty list of cuts nor cuts between keys that nobody sees change a bit."""
    codes = random_codes(1, granularity)
    plain = attention(Inputs(*codes))
    assert equal_cuts(24) == ()
    assert len(plain.partials) == 1
    mask = np.zeros((5, 24), bool)
    mask[:, 8:20] = True
    short = [codes[0], codes[1].take(range(8, 20)), codes[2].take(range(8, 20))]
    here = attention(Inputs(*codes, mask=mask, cuts=(3, 8, 20, 23)))
    there = attention(Inputs(*short))
    assert (here.output == there.output).all()
    assert (here.importance[8:20] == there.importance).all()
    assert (here.weights.lead == there.weights.lead).all()


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_all_visible_keys_in_the_last_segment(random_codes, granularity):
    codes = random_codes(2, granularity)
    mask = np.zeros((5, 24), bool)
    mask[:, 23] = True
    out = attention(Inputs(*codes, mask=mask, cuts=(10, 23)))
    alone = attention(Inputs(codes[0], codes[1].take([23]), codes[2].take([23])))
    assert (out.output == alone.output).all()
    assert out.importance.tolist() == [0] * 23 + [2 * 5 * 65535]


def test_rows_without_visible_keys_among_others(random_codes):
    codes = random_codes(3, "token")
    mask = np.random.default_rng(3).random((5, 24)) < 0.4
    mask[1] = False
    out = attention(Inputs(*codes, mask=mask, cuts=(7, 8)))
    assert not out.output[:, 1].any()
    assert not out.probability[:, 1].any()


def test_every_key_a_segment(random_codes):
    """Weights are then all 119: what differs is in the factors alone."""
    codes = random_codes(4, n=32)
    out = attention(Inputs(*codes, cuts=tuple(range(1, 32))))
    assert (out.weights.p == 119).all()
    exact = reference(*(dequantize(c) for c in codes)).output
    assert np.abs(out.values - exact).max() < 0.004 * np.abs(exact).max()


def test_equal_keys_in_64_segments(random_codes):
    """All maxima are equal: nothing is scaled, and the mean of the values is exact."""
    q, k, v = random_codes(5, n=64)
    same = Codes(np.repeat(k.codes[:, :1], 64, 1), k.scale)
    cut = attention(Inputs(q, same, v, cuts=equal_cuts(64, 1)))
    one = attention(Inputs(q, same, v))
    assert (cut.output == one.output).all()
    assert (cut.probability == one.probability).all()


@given(st.data())
@settings(max_examples=30)
def test_decoding_equals_the_prefill(random_codes, data):
    """Each step of one query is a row of one call, bit by bit, and importance adds up to it."""
    granularity = data.draw(st.sampled_from(GRANULARITIES))
    n = data.draw(st.integers(1, 14))
    window = data.draw(st.none() | st.sampled_from([1, 3, n]))
    length = data.draw(st.sampled_from([1, 2, 5, 1024]))
    codes = random_codes(data.draw(st.integers(0, 99)), granularity, m=n, n=n)
    bits = np.random.default_rng(n).choice([4, 8], n)
    sinks = data.draw(st.sampled_from([None, quantize_sinks([0.5, -2.0])]))
    everyone = np.arange(n)
    prefill = attention(
        Inputs(
            *codes,
            bits,
            bits,
            bits,
            position_mask(everyone, everyone, window=window),
            cuts=equal_cuts(n, length),
            sinks=sinks,
        )
    )
    held = CacheImportance.empty(n)
    for p in range(n):
        keys = TokenList.all(p + 1).ids
        step = attention(
            Inputs(
                codes[0].take([p]),
                codes[1].take(keys),
                codes[2].take(keys),
                bits[[p]],
                bits[keys],
                bits[keys],
                position_mask([p], keys, window=window),
                held.read(keys),
                cuts=equal_cuts(p + 1, length),
                sinks=sinks,
            ),
            Options(importance_saturates=True),
        )
        assert (step.output[:, 0] == prefill.output[:, p]).all()
        held = held.written(keys, step.importance)
    assert (held.values == prefill.importance).all()


@given(st.data())
@settings(max_examples=30)
def test_the_order_of_a_list_changes_nothing(random_codes, data):
    """Positions go with their tokens; in segments, each keeps its keys, in any order."""
    granularity = data.draw(st.sampled_from(GRANULARITIES))
    n, m = data.draw(st.integers(2, 12)), data.draw(st.integers(1, 4))
    codes = random_codes(data.draw(st.integers(0, 99)), granularity, m=m, n=n)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ids, queries = rng.permutation(65536)[:n], rng.permutation(65536)[:m]
    bits = rng.choice([4, 8], n)
    cuts = cuts_of(data, n)
    window = data.draw(st.none() | st.just(30000))
    ends = [0, *cuts, n]
    order = np.concatenate([a + rng.permutation(b - a) for a, b in itertools.pairwise(ends)])
    rows = rng.permutation(m)

    def run(keys, asked):
        q, k, v = codes[0].take(asked), codes[1].take(keys), codes[2].take(keys)
        mask = position_mask(queries[asked], ids[keys], window=window)
        return attention(Inputs(q, k, v, None, bits[keys], bits[keys], mask, cuts=cuts))

    straight, moved = run(np.arange(n), np.arange(m)), run(order, rows)
    assert (moved.output == straight.output[:, rows]).all()
    assert (moved.importance == straight.importance[order]).all()
    # What is kept is named by id.
    k0 = data.draw(st.integers(1, n))
    chosen = select(straight.importance, k0, k0 // 2, ids=ids)
    again = select(moved.importance, k0, k0 // 2, ids=ids[order])
    assert again.ids.tolist() == chosen.ids.tolist()


def test_eviction_with_protected_tokens_and_queries_that_go_on(random_codes):
    """A cascade of two calls by ids: the second sees what the first kept, and asks for all."""
    n = 12
    codes = random_codes(6, "token", m=n, n=n)
    everyone = TokenList.all(n)
    first = attention(Inputs(*codes, mask=position_mask(everyone.ids, everyone.ids)))
    held = CacheImportance.empty(n).added(everyone.ids, first.importance)
    safe = protected(everyone.ids, first=1, last=2)
    chosen = select(held.read(everyone.ids), 6, 2, ids=everyone.ids, protected=safe)
    assert {0, 10, 11} <= set(chosen.ids.tolist())
    keys, queries = TokenList.of(chosen), TokenList.of(chosen.queries(everyone.ids))
    assert len(queries) == n
    assert (queries.bits == 4).sum() == n - 2
    out = attention(
        Inputs(
            codes[0].take(queries.ids),
            codes[1].take(keys.ids),
            codes[2].take(keys.ids),
            queries.bits,
            keys.bits,
            keys.bits,
            position_mask(queries.ids, keys.ids),
            held.read(keys.ids),
        )
    )
    held = held.written(keys.ids, out.importance)
    behind = distances(queries.ids, keys.ids) >= 0
    values = [
        dequantize(c.take(tokens.ids), tokens.bits)
        for c, tokens in zip(codes, (queries, keys, keys), strict=True)
    ]
    exact = reference(*values, behind)
    assert np.abs(out.values - exact.output).max() < 0.05 * np.abs(values[2]).max()
    gone = np.setdiff1d(everyone.ids, keys.ids)
    assert (held.values[gone] == first.importance[gone]).all()
    grown = (held.values.astype(int) - first.importance)[keys.ids] / 65536
    assert np.abs(grown - exact.importance).max() < 0.03


def test_observed_queries_alone_count(random_codes):
    codes = random_codes(7, m=6)
    ids = np.array([20, 3, 23, 8, 22, 9])
    seen = position_mask(ids, np.arange(24))
    window = latest(ids, 2)
    whole = attention(Inputs(*codes, mask=seen))
    for count in (False, True):
        out = attention(Inputs(*codes, mask=seen, observed=window), Options(count_normalize=count))
        added = whole.probability[:, [2, 4]].sum((0, 1))
        assert (
            out.importance == (added // np.maximum(seen[[2, 4]].sum(0), 1) if count else added)
        ).all()
        assert (out.output == whole.output).all()


def test_importance_that_saturates(random_codes):
    codes = random_codes(8)
    held = np.full(24, 2**32 - 1, np.uint32)
    held[3] = 0
    inputs = Inputs(*codes, importance=held)
    with pytest.raises(ValueError, match="room for 0 rows"):
        attention(inputs)
    out = attention(inputs, Options(importance_saturates=True)).importance
    added = attention(Inputs(*codes)).importance
    assert out[3] == added[3]
    assert (np.delete(out, 3) == 2**32 - 1).all()


def test_observed_rows_alone_need_room():
    one = quantize(np.ones((1, 1, 1)))
    many = Codes(np.ones((1, 65538, 1), np.int8), one.scale)
    some = np.arange(65538) < 65537
    out = attention(Inputs(many, one, one, observed=some))
    assert out.importance.tolist() == [2**32 - 1]


def test_256_channels_at_both_ends_of_the_scores():
    codes = np.full((1, 2, 256), 119, np.int8)
    codes[:, 1] = -120
    tensor = Codes(codes, np.ones(1))
    out = attention(Inputs(tensor, tensor, tensor), Options(softmax_scale=2.0**-17))
    assert out.scores.tolist() == [[[3_625_216, -3_655_680], [-3_655_680, 3_686_400]]]
    exact = reference(*[dequantize(tensor)] * 3, softmax_scale=2.0**-17)
    assert np.abs(out.probability / 65536 - exact.probability).max() < 2**-15


def test_what_no_machine_holds_is_refused(random_codes):
    wide = quantize(np.ones((1, 1, 257)))
    with pytest.raises(ValueError, match="257 channels, more than 256: split it"):
        Inputs(wide, wide, wide)
    q, k, v = random_codes(0)
    for cuts in ((0,), (24,), (5, 5), (6, 5), (-1,)):
        with pytest.raises(ValueError, match=r"give places in 1\.\.23, ascending"):
            Inputs(q, k, v, cuts=cuts)
    for order in ((), (0,), (0, 0), (0, 2), (1, 0, 1)):
        with pytest.raises(ValueError, match=r"name each of the segments 0\.\.1 once"):
            Inputs(q, k, v, cuts=(5,), order=order)
    with pytest.raises(ValueError, match=r"observed has shape \(4,\)"):
        Inputs(q, k, v, observed=np.ones(4, bool))
    one = quantize(np.ones((1, 1, 1)))
    long = Codes(np.ones((1, 65537, 1), np.int8), one.scale)
    with pytest.raises(ValueError, match="65537 keys, more than 65536: evict some"):
        Inputs(one, long, long)


def test_65536_keys_in_64_segments():
    """One query of a full cache: the widest sums, against the mean of the values."""
    n = 65536
    rng = np.random.default_rng(0)
    q, k = quantize(np.ones((1, 1, 2))), Codes(np.ones((1, n, 2), np.int8), np.ones(1))
    v = Codes(rng.integers(100, 120, (1, n, 2)).astype(np.int8), np.ones(1))
    out = attention(Inputs(q, k, v, cuts=equal_cuts(n)))
    assert out.weights.divisor.item() == 16 * 119 * n
    assert np.abs(out.output / 256 - v.codes.mean(1)).max() < 0.01
    assert (out.probability == 1).all()
