"""Policies for models of three layers, and what a model gives under one."""

import torch

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached

# Outputs of the two modes, relative rms, on tiny models of three layers, most tokens in 4 bits.
# See BOUND in block/test_fake_quant.py for one block. From the second layer on the inputs differ by
# that much, and a value near the middle of two 4-bit codes falls to the other side, which costs 1/7
# of the token's range. Median over 40 seeds: 0.019; where importances nearly tie, the modes may
# even choose different tokens, which these seeds do not.
BOUND = 0.1


def layer(s0=0.0, s4=0.5, s8=0.5, **more):
    return LayerPolicy(share_0=s0, share_4=s4, share_8=s8, **more)


def ramp(s8=0.25, **options):
    layers = [layer(s, 1 - s - s8, s8) for s in (0.0, 0.25, 0.5)]
    return Policy(layers=tuple(layers), **options)


def hidden(model, policy, mode, batch, **options):
    with torch.no_grad(), attached(model, policy, mode, **options) as session:
        out = model(**batch)
    return (out.last_hidden_state if "last_hidden_state" in out else out.logits), session


def rms(a, b, where=None):
    a, b = a.double(), b.double()
    if where is not None:
        a, b = a[where], b[where]
    return float(((a - b).square().mean() / b.square().mean()).sqrt())


def spattens(**options):
    """All that SpAtten's method does, with the options a decoder needs."""
    return Policy(
        layers=(
            layer(0, 0, 1),
            layer(0.25, 0.75, 0, heads=0.5, values=0.8, threshold=0.3),
            layer(0.5, 0.5, 0, heads=0.5, values=0.5, threshold=0.3),
        ),
        granularity="token",
        prune_queries=False,
        count_normalize=True,
        protect=("first",),
        p_planes=3,
        **options,
    )


def decoded(model, policy, mode, ids, prefill, **options):
    with torch.no_grad(), attached(model, policy, mode, **options) as session:
        cache = session.cache()
        parts = [model(input_ids=ids[:, :prefill], past_key_values=cache).logits]
        for i in range(prefill, ids.shape[1]):
            parts.append(model(input_ids=ids[:, i : i + 1], past_key_values=cache).logits)
    return torch.cat(parts, 1), cache, session
