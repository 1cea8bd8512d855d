"""A small encoder with random weights, every attention on the simulated machine."""

import dataclasses
from types import SimpleNamespace

import pytest

from dtqatten import Config, Schedule

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from dtqatten.algorithm.block.terms import NO_TERMS  # noqa: E402
from dtqatten.algorithm.layer_policy import LayerPolicy  # noqa: E402
from dtqatten.algorithm.policy import Policy  # noqa: E402
from dtqatten.algorithm.policy_values import (  # noqa: E402
    Importance,
    PolicyError,
    Protect,
    Pruned,
    Ranking,
)
from dtqatten.algorithm.runtime import attached  # noqa: E402
from dtqatten.algorithm.session.blocks import Mode  # noqa: E402
from dtqatten.algorithm.tasks.embedding import pool  # noqa: E402
from dtqatten.configuration.system import SystemConfig  # noqa: E402
from dtqatten.golden.numerics.codes import Granularity  # noqa: E402
from dtqatten.sim.machine.axi import simulated_device  # noqa: E402
from dtqatten.sim.machine.encoder import MachineBlocks, config_for, run_encoder  # noqa: E402

FOUR = LayerPolicy(share_0=0, share_4=1, share_8=0)
#: Of 16 tokens all in 4 bits, then 15 in 4 and 1 in 8 bits, then 8 in 8: classes of full tiles.
RANKED = Policy(
    layers=(
        FOUR,
        LayerPolicy(share_0=0, share_4=15 / 16, share_8=1 / 16),
        LayerPolicy(share_0=0.5, share_4=0, share_8=0.5),
    ),
    granularity=Granularity.TOKEN,
    importance=Importance.BLOCK,
    pruned=Pruned.FFN,
    p_planes=3,
    p_follows_token=True,
    p_follows_query=True,
)
#: A machine of the tests of chains, so that it is compiled once.
CORE = Config(
    rows=3,
    cols=5,
    depth=5,
    d_head=80,
    n_max=17,
    schedule=Schedule.INTERLEAVED,
    planes=3,
    v_gains=True,
    heads=9,
    capacity=300,
)


def bert():
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=160,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=32,
        initializer_range=0.3,
    )
    return transformers.BertModel(config).eval()


def test_the_embedding_is_that_of_the_golden_algorithm() -> None:
    torch.manual_seed(3)
    model = bert()
    ids = torch.randint(1, 50, (1, 16))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert config_for(CORE, RANKED) == CORE
    device = simulated_device(SystemConfig(core=CORE), timeout=400_000, optimize=0)
    run = run_encoder(model, RANKED, device, batch)
    assert run.equal
    assert [(layer.tokens, layer.four_bit) for layer in run.layers] == [(16, 16), (16, 15), (8, 0)]
    assert all(layer.cycles and layer.bytes_read and layer.bytes_written for layer in run.layers)
    assert 0.5 < run.cosine < 1
    with pytest.raises(ValueError, match="one sequence at a time"):
        run_encoder(model, RANKED, device, {k: v.repeat(2, 1) for k, v in batch.items()})


def test_means_of_queries_are_biases_of_keys() -> None:
    """Of the keys that each layer keeps, in heads that it keeps."""
    torch.manual_seed(5)
    model = bert()
    layers = (FOUR, *(dataclasses.replace(layer, heads=0.5) for layer in RANKED.layers[1:]))
    policy = RANKED.replace(layers=layers, center=True, center_queries=True)
    core = config_for(CORE, policy)
    assert (core.bias_heads, core.head_pruning) == (1, True)
    ids = torch.randint(1, 50, (1, 16))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    device = simulated_device(SystemConfig(core=core), timeout=400_000, optimize=0)
    assert run_encoder(model, policy, device, batch).equal
    with pytest.raises(PolicyError, match=r"machine has bias_heads, .* set center_queries"):
        config_for(core, RANKED)


@pytest.mark.parametrize("by_host", [False, pytest.param(True, marks=pytest.mark.long)])
def test_row_blocks_choose_values(by_host: bool) -> None:
    """In every layer, on arrays whose groups are not those of preset base; heads go, too.

    Tiles of the same arrays have exponents.
    """
    torch.manual_seed(4)
    model = bert()
    some = [dataclasses.replace(layer, values=0.4) for layer in RANKED.layers]
    # Machine or host leaves out a head from the second layer on.
    some[1:] = [dataclasses.replace(layer, heads=0.5) for layer in some[1:]]
    policy = RANKED.replace(layers=tuple(some), block_exponents=True)
    core = config_for(CORE, policy)
    assert (core.local_values, core.skip_tiles, core.head_pruning) == (True, True, True)
    core = core.replace(head_pruning=not by_host)
    ids = torch.randint(1, 50, (1, 16))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    device = simulated_device(SystemConfig(core=core), timeout=400_000, optimize=0)
    run = run_encoder(model, policy, device, batch)
    assert run.equal
    with torch.no_grad(), attached(model, policy, Mode.INTEGER) as session:
        other = pool(model(**batch).last_hidden_state, batch["attention_mask"], session)[0]
    assert not torch.equal(other, run.golden)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protect": (Protect.FIRST,)}, "protects tokens"),
        ({"prune_queries": False}, "keeps pruned queries"),
        ({"pruned": Pruned.DROP}, "drops tokens"),
        ({"count_normalize": True}, "divides importance"),
        ({"ranking": Ranking.RANDOM}, "ranks at random"),
        ({"ranking": Ranking.FIRST}, "ranks by place"),
    ],
)
def test_policies_beyond_the_machine_are_refused(changes, message) -> None:
    policy = Policy(layers=(FOUR, FOUR), **changes)
    with pytest.raises(PolicyError, match=message):
        config_for(Config(rows=1, cols=1, depth=1, d_head=8, n_max=4), policy)


@pytest.mark.parametrize("name", ["unsigned_weights", "block_exponents"])
def test_weights_of_a_policy_need_a_machine_of_them(name) -> None:
    other = CORE.replace(**{name: True})
    with pytest.raises(PolicyError, match=f"the machine has {name}, the policy has not"):
        config_for(other, RANKED)
    assert config_for(other, RANKED.replace(**{name: True})) == config_for(
        CORE, RANKED.replace(**{name: True})
    )


def test_a_machine_has_the_options_of_the_policy() -> None:
    made = config_for(CORE, Policy(layers=(FOUR, FOUR)))
    assert made == CORE.replace(planes=2, v_gains=False, cumulative=True)


def test_queries_that_see_different_keys_are_refused() -> None:
    """A causal mask, a window or blocks: a chain has one set of keys for all its queries."""
    blocks = MachineBlocks(SimpleNamespace(prepare=lambda _: []), RANKED)
    q = SimpleNamespace(codes=torch.zeros(1, 2, 4, 8))
    causal = torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
    op = SimpleNamespace(q=q, visible=causal, terms=NO_TERMS)
    with pytest.raises(ValueError, match=r"row for each query.*use mode integer"):
        blocks(0, op)
