"""The float64 reference, against PyTorch's own attention and by hand."""

import numpy as np
import torch

from dtqatten.golden.numerics.masks import causal_mask
from dtqatten.golden.numerics.reference import distances, reference


def tensors(n_q=5, n_k=7, batch=()):
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(*batch, 2, n, 4)) for n in (n_q, n_k, n_k))


def test_output_is_that_of_torch():
    q, k, v = tensors(batch=(3,))
    mask = np.random.default_rng(1).random((3, 5, 7)) < 0.7
    mask[..., 0] = True
    found = reference(q, k, v, mask)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.from_numpy, (q, k, v)), attn_mask=torch.from_numpy(mask)[:, None]
    )
    assert np.abs(found.output - expected.numpy()).max() < 1e-12
    assert np.allclose(found.importance, found.probability.sum((1, 2)))
    assert np.allclose(found.importance.sum(-1), 2 * 5)


def test_rows_that_see_nothing_are_zero():
    q, k, v = tensors()
    mask = np.ones((5, 7), bool)
    mask[2] = False
    found = reference(q, k, v, mask)
    assert not found.output[:, 2].any()
    assert not found.probability[:, 2].any()


def test_count_normalization():
    zeros = np.zeros((1, 3, 2))
    mask = causal_mask(range(3), range(3))
    found = reference(zeros, zeros, zeros, mask, count_normalize=True)
    assert np.allclose(found.importance, [(1 + 1 / 2 + 1 / 3) / 3, (1 / 2 + 1 / 3) / 2, 1 / 3])


def test_softmax_scale():
    q, k, v = tensors()
    assert np.allclose(reference(q, k, v, softmax_scale=1.0).output, reference(2 * q, k, v).output)


def test_sinks_are_a_key_without_a_value():
    q, k, v = tensors()
    sinks = np.array([0.7, -np.inf])
    found = reference(q, k, v, sinks=sinks)
    weights = np.exp(q @ k.swapaxes(-1, -2) / 2)
    total = weights.sum(-1) + np.exp(sinks)[:, None]
    assert np.allclose(found.probability, weights / total[..., None])
    assert np.allclose(found.output, weights @ v / total[..., None])
    assert np.allclose(found.probability[1], reference(q, k, v).probability[1])


def test_sinks_far_above_and_below_every_score():
    q, k, v = tensors()
    assert not reference(q, k, v, sinks=np.full(2, 1e4)).output.any()
    assert (reference(q, k, v, sinks=np.full(2, -1e4)).output == reference(q, k, v).output).all()
    nothing = reference(q, k, v, np.zeros((5, 7), bool), sinks=np.zeros(2))
    assert not nothing.output.any()


def test_distances():
    assert distances([3, 0], [0, 3]).tolist() == [[3, 0], [0, -3]]
