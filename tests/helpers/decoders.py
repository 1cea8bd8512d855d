"""A decoder's policy, and its outputs in parts of a sequence."""

import torch

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy

# A decoder's policy in which importance decides precisions and evictions.
PRUNING = Policy(
    layers=tuple(LayerPolicy(share_0=s, share_4=0.75 - s, share_8=0.25) for s in (0.0, 0.25, 0.25)),
    granularity="token",
    prune_queries=False,
    count_normalize=True,
    protect=("first",),
    recent=2,
)


def tokens(rows=2, n=14, seed=7):
    torch.manual_seed(seed)
    return torch.randint(3, 50, (rows, n))


def error(got, expected):
    return float((got.double() - expected.double()).norm() / expected.double().norm())


def in_parts(model, session, ids, sizes, cache=None):
    cache = session.cache() if cache is None else cache
    parts = [model(input_ids=x, past_key_values=cache).logits for x in ids.split(sizes, 1)]
    return torch.cat(parts, 1), cache
