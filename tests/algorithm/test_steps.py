"""A window whose queries are decode steps, beside what a cache decodes token by token."""

import pytest
import torch

from dtqatten.algorithm.policy import Policy
from dtqatten.golden.numerics.local_values import Arrays
from tiny_models import decoded, hidden, layer

STEPS = Arrays(8, 8, 2, 64, grouped=True, stepwise=True)


@pytest.mark.parametrize("rules", [{"values": 0.3}, {"threshold": 0.06}], ids=str)
def test_steps_at_once_read_what_those_of_a_cache_read(llama, rules):
    torch.manual_seed(3)
    ids = torch.randint(3, 50, (1, 48))
    layers = (layer(0, 0, 1, **rules),) * 3
    policy = Policy(layers=layers, granularity="token", prune_queries=False, p_planes=3)
    _, once = hidden(llama, policy, "fake-quant", {"input_ids": ids}, arrays=STEPS)
    _, _, each = decoded(llama, policy, "fake-quant", ids, 1, arrays=STEPS)
    assert each.tally.bytes == pytest.approx(once.tally.bytes, rel=0.01)
    assert each.tally.bytes_all == once.tally.bytes_all
    assert once.tally.bytes < 0.9 * once.tally.bytes_all
    assert each.tally.flat == pytest.approx(once.tally.flat, abs=0.02)
    assert ("threshold" in rules) == (0 < once.tally.flat < 1)
