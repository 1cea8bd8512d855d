"""Policy files: what goes in comes out, what is impossible is refused with a way out."""

import json

import numpy as np
import pytest

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_file import FORMAT
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.golden.numerics.select import counts, select


def layer(s0=0.0, s4=0.5, s8=0.5, **more):
    return LayerPolicy(share_0=s0, share_4=s4, share_8=s8, **more)


def full():
    return Policy(
        layers=(layer(), layer(0.25, 0.75, 0.0, heads=0.5, values=0.9, threshold=0.1)),
        granularity="token",
        ranking="random",
        importance="block",
        count_normalize=True,
        pruned="ffn",
        prune_queries=False,
        protect=("first", "special"),
        recent=4,
        rotate=True,
        smooth=0.5,
        center=True,
        center_queries=True,
        gains="signed",
        p_planes=3,
        unsigned_weights=True,
        block_exponents=True,
        p_follows_token=True,
        p_follows_query=True,
        seed=7,
        model="m",
        task="t",
        record={"metric": 0.5},
    )


def test_round_trip_keeps_every_field(tmp_path):
    path = tmp_path / "folder" / "policy.json"
    full().save(path)
    assert Policy.load(path) == full()
    assert [p.name for p in path.parent.iterdir()] == ["policy.json"]
    content = json.loads(path.read_text())
    assert content["format"] == FORMAT
    assert content["version"] == 1


@pytest.mark.parametrize(
    "fields",
    [{"heads": 1.0, "values": 1.0}, {"threshold": 1.0}, {"threshold": 0.0}, {"heads": 0.5}],
)
def test_values_of_a_layer_are_stored_unless_they_are_that_fields_default(fields):
    policy = Policy(layers=(layer(), layer(0.25, 0.75, 0.0, **fields)))
    assert Policy.from_json(policy.to_json()) == policy


def test_texts_from_before_weights_could_follow_queries_are_read_and_written_alike():
    text = full().replace(p_follows_query=False).to_json()
    assert "p_follows_query" not in text
    assert Policy.from_json(text).to_json() == text


def test_every_field_differs_from_its_default():
    """Otherwise the round trip would not notice a field that is not stored."""
    plain = Policy(layers=full().layers)
    same = [f for f in Policy.__dataclass_fields__ if getattr(plain, f) == getattr(full(), f)]
    assert same == ["layers"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2, this program reads 1"),
        ({"format": "x"}, '"format" must be'),
        ({"surprise": 1}, "unknown fields surprise"),
        ({"layers": []}, "at least one"),
        ({"layers": [{"share_0": 0, "share_4": 1}]}, "layer 0 needs share_0"),
        ({"layers": [{"share_0": 0, "share_4": 1, "share_8": 0.5}]}, "sum 1.5"),
        ({"layers": [{"share_0": 0.2, "share_4": 0.8, "share_8": 0}]}, "layer 0 prunes 20%"),
        ({"layers": [{"share_0": "a", "share_4": 1, "share_8": 0}]}, "layer 0: share_0 is 'a'"),
        ({"layers": [{"share_0": 0, "share_4": 1, "share_8": 0, "x": 1}]}, "unknown fields x"),
        ({"pruned": "burn"}, "choose one of drop, freeze, ffn"),
        ({"protect": ["middle"]}, "choose one of first, last, special"),
        ({"protect": "first"}, "give a list"),
        ({"rotate": 1}, "give true or false"),
        ({"gains": "even"}, "choose one of largest, least-error, signed"),
        (
            {"granularity": "head"},
            "gains is signed with granularity head, .* set granularity to token",
        ),
        ({"p_follows_query": 1}, "p_follows_query is 1: give true or false"),
        ({"p_planes": 4}, "2..3"),
        ({"recent": -1}, "0..1024"),
        ({"smooth": 2}, "outside 0..1"),
    ],
)
def test_impossible_files_are_refused(change, message):
    content = json.loads(full().to_json())
    content.update(change)
    with pytest.raises(PolicyError, match=message):
        Policy.from_json(json.dumps(content))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(PolicyError, match="cannot read"):
        Policy.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(PolicyError, match=r"bad\.json: a policy must be JSON"):
        Policy.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
    "make",
    [
        lambda: layer(heads=0.0),
        lambda: layer(1.0, 0.0, 0.0),
        lambda: layer(-0.5, 1.0, 0.5),
        lambda: Policy(layers=(layer(heads=0.5),)),
        lambda: Policy.flat(0),
    ],
)
def test_impossible_layers_are_refused(make):
    with pytest.raises(PolicyError):
        make()


def test_precision_is_that_of_the_golden_selection():
    rng = np.random.default_rng(0)
    policy = Policy(layers=(layer(), layer(0.3, 0.4, 0.3)))
    for n in (1, 2, 7, 40):
        values = rng.integers(0, 5, n)  # many ties
        expected = select(values, *counts(n, policy.layers[1].shares)).precision(n)
        assert (policy.precision(1, values) == expected).all()


def test_protected_tokens_come_first_and_the_dead_stay_dead():
    policy = Policy(layers=(layer(), layer(0.5, 0.25, 0.25)))
    values = np.arange(8)
    bits = policy.precision(1, values, protected=[1, 0, 0, 0, 0, 0, 0, 0])
    assert bits.tolist() == [8, 0, 0, 0, 0, 4, 4, 8]
    bits = policy.precision(1, values, alive=[1, 1, 1, 1, 1, 1, 0, 0])
    assert bits.tolist() == [0, 0, 4, 4, 8, 8, 0, 0]
    # More protected tokens than the shares keep: all of them stay.
    assert (policy.precision(1, values, protected=np.ones(8)) > 0).all()
    with pytest.raises(PolicyError, match=r"0\.\.1"):
        policy.precision(2, values)


def test_flat_prunes_nothing_in_the_first_layer():
    policy = Policy.flat(3, (0.28, 0.414, 0.306))
    assert policy.layers[0].share_0 == 0
    assert policy.layers[0].share_4 == pytest.approx(0.575)
    assert policy.layers[2].shares == (0.28, 0.414, 0.306)
    assert policy.share_0(2) == 0.28
    assert policy.ranks
    assert not Policy.flat(3).ranks
