"""Padding, left or right and of any length, changes no result of a real token under any policy."""

import itertools
from pathlib import Path

import pytest
import torch

from dtqatten import algorithm
from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached, calibrate

POLICIES = sorted((Path(algorithm.__file__).parent / "policies").glob("*.json"))
N = 12


def shrunk(policy):
    """The first, middle and last layer, so that shares, heads, values and thresholds are kept."""
    layers = policy.layers
    return policy.replace(layers=(layers[0], layers[len(layers) // 2], layers[-1]))


def combinations():
    """Each way in which a policy may treat pruned tokens and rank, with much pruned."""
    ramp = tuple(
        LayerPolicy(share_0=zero, share_4=0.75 - zero, share_8=0.25, heads=heads, values=values)
        for zero, heads, values in ((0.0, 1.0, 1.0), (0.25, 0.5, 0.8), (0.5, 0.5, 0.5))
    )
    for stay, recent, granularity, ranking in itertools.product(
        (False, True), (0, 2), ("head", "token"), ("importance", "random")
    ):
        pruned = ("drop", "freeze", "ffn")[(stay + recent + (granularity == "head")) % 3]
        yield Policy(
            layers=ramp,
            prune_queries=not stay,
            recent=recent,
            granularity=granularity,
            ranking=ranking,
            pruned=pruned,
            importance="block" if recent else "cumulative",
            count_normalize=stay,
            center_queries=stay,
            protect=("first", "last"),
            p_follows_token=True,
            p_follows_query=stay,
        )


CASES = [pytest.param(shrunk(Policy.load(path)), id=path.stem) for path in POLICIES]
CASES += [pytest.param(policy, id=f"ramp-{i}") for i, policy in enumerate(combinations())]


def padded(ids, left, right):
    """A batch with padding of a token that means something elsewhere, and the places of tokens."""
    mask = torch.nn.functional.pad(torch.ones_like(ids), (left, right))
    return {
        "input_ids": torch.nn.functional.pad(ids, (left, right), value=7),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp_min(0),
    }


def run(model, policy, mode, batch, measured):
    options = {"special_ids": (3, 4), "calibration": measured, "fold": False, "record": True}
    with torch.no_grad(), attached(model, policy, mode, **options) as session:
        return model(**batch)[0], session


@pytest.mark.parametrize("policy", CASES)
def test_padding_changes_nothing(policy, bert, llama):
    """Codes, precisions and importances to the bit in mode integer.

    The model's own products of matrices depend on the shape of a batch in their last bits: in
    double precision these are far below a rounding of any code.
    """
    torch.manual_seed(5)
    ids = torch.randint(3, 50, (2, N))
    plain = padded(ids, 0, 0)
    modes = ["integer", "fake-quant"]
    if all(layer.values == 1 for layer in policy.layers):
        modes.append("float")  # which has all of V
    models = [llama.double()]
    if policy.prune_queries or not policy.recent:  # which is for causal models only
        models.append(bert.double())
    for model, mode in itertools.product(models, modes):
        measured = None
        if policy.calibrated:
            measured = calibrate(model, [plain])
        expected, alone = run(model, policy, mode, plain, measured)
        for left, right in ((3, 0), (1, 5)):
            got, session = run(model, policy, mode, padded(ids, left, right), measured)
            real = slice(left, left + N)
            torch.testing.assert_close(got[:, real], expected, atol=1e-9, rtol=1e-9)
            for one, two in zip(session.records, alone.records, strict=True):
                assert torch.equal(one.bits[:, real], two.bits)
                assert int((one.bits > 0).sum()) == int((two.bits > 0).sum())
                if mode == "integer":
                    assert torch.equal(one.importance[:, real], two.importance)
            for name, value in vars(alone.tally).items():
                assert getattr(session.tally, name) == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("mode", ["integer", "fake-quant"])
@pytest.mark.parametrize("masked", [True, False])
def test_padding_changes_nothing_while_decoding(llama, mode, masked):
    """Prompts padded on the left, then three tokens one by one; the cache remembers padding."""
    torch.manual_seed(5)
    llama = llama.double()
    ids = torch.randint(3, 50, (2, N))
    policy = next(p for p in combinations() if not p.prune_queries and p.recent).replace(
        protect=("first",), count_normalize=True
    )
    assert policy.center_queries
    measured = calibrate(llama, [padded(ids, 0, 0)])

    def decoded(left):
        batch = padded(ids, left, 0)
        outputs = []
        with torch.no_grad(), attached(llama, policy, mode, calibration=measured) as session:
            cache = session.cache()
            start = 0
            for stop in range(left + N - 3, left + N + 1):
                given = {
                    "input_ids": batch["input_ids"][:, start:stop],
                    "attention_mask": batch["attention_mask"][:, :stop],
                    "position_ids": batch["position_ids"][:, start:stop],
                }
                if start and not masked:
                    # A 4D mask says what this query sees, not what else is padding.
                    mask = batch["attention_mask"][:, None, None, :stop].bool()
                    given["attention_mask"] = mask
                outputs.append(llama(**given, past_key_values=cache).logits)
                start = stop
        return torch.cat(outputs, 1)[:, left:], [x[:, left:] for x in cache.precisions()]

    expected, bits = decoded(0)
    got, found = decoded(4)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)
    assert all(torch.equal(a, b) for a, b in zip(bits, found, strict=True))
    assert any(bool((x == 0).any()) for x in bits)
