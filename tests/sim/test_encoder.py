"""A small encoder with random weights, every attention on the simulated machine."""

import functools

import pytest

from dtqatten import Config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from dtqatten.driver.device import Device  # noqa: E402
from dtqatten.golden.algorithm.policy import (  # noqa: E402
    Importance,
    LayerPolicy,
    Policy,
    PolicyError,
    Protect,
    Pruned,
)
from dtqatten.golden.codes import Granularity  # noqa: E402
from dtqatten.sim.axi import simulated_device  # noqa: E402
from dtqatten.sim.encoder import config_for, run_encoder  # noqa: E402
from dtqatten.system_config import SystemConfig  # noqa: E402

FOUR = LayerPolicy(share_0=0, share_4=1, share_8=0)
#: Of 16 tokens: all in 4 bits, then 12 of them, then 4 in 4 and 4 in 8 bits: full tiles.
RANKED = Policy(
    layers=(
        FOUR,
        LayerPolicy(share_0=0.25, share_4=0.75, share_8=0),
        LayerPolicy(share_0=0.5, share_4=0.25, share_8=0.25),
    ),
    granularity=Granularity.TOKEN,
    pruned=Pruned.FFN,
    rotate=True,
    p_follows_token=True,
)


@functools.cache
def device() -> Device:
    core = Config(rows=4, cols=4, depth=4, d_head=16, n_max=24, topk_lanes=4)
    system = SystemConfig(core=config_for(core, RANKED), bus_bits=64)
    return simulated_device(system, timeout=200_000, optimize=0)


def test_the_embedding_is_that_of_the_golden_algorithm() -> None:
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=32,
        initializer_range=0.3,
    )
    model = transformers.BertModel(config).eval()
    ids = torch.randint(1, 50, (1, 16))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    run = run_encoder(model, RANKED, device(), batch)
    assert run.equal
    assert [(layer.tokens, layer.four_bit) for layer in run.layers] == [(16, 16), (12, 12), (8, 4)]
    assert all(layer.cycles and layer.bytes_read and layer.bytes_written for layer in run.layers)
    assert 0.5 < run.cosine < 1
    with pytest.raises(ValueError, match="one sequence at a time"):
        run_encoder(model, RANKED, device(), {k: v.repeat(2, 1) for k, v in batch.items()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protect": (Protect.FIRST,)}, "protects tokens"),
        ({"prune_queries": False}, "keeps pruned queries"),
        ({"pruned": Pruned.DROP}, "drops tokens"),
        ({"count_normalize": True}, "divides importance"),
    ],
)
def test_policies_beyond_the_machine_are_refused(changes, message) -> None:
    policy = Policy(layers=(FOUR, FOUR), **changes)
    with pytest.raises(PolicyError, match=message):
        config_for(Config(rows=1, cols=1, depth=1, d_head=8, n_max=4), policy)


def test_a_machine_has_the_options_of_the_policy() -> None:
    config = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4)
    made = config_for(config, RANKED)
    assert made.v_gains
    assert made.cumulative
    plain = config_for(config, Policy(layers=(FOUR, FOUR), importance=Importance.BLOCK))
    assert not plain.v_gains
    assert not plain.cumulative
