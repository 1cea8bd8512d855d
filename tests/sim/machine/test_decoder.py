"""A small decoder with random weights generates, every attention on the simulated machine."""

from types import SimpleNamespace

import numpy as np
import pytest

from dtqatten import Config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from dtqatten.algorithm.block.terms import NO_TERMS, Terms  # noqa: E402
from dtqatten.algorithm.layer_policy import LayerPolicy  # noqa: E402
from dtqatten.algorithm.packaged import find_policy  # noqa: E402
from dtqatten.algorithm.policy import Policy  # noqa: E402
from dtqatten.algorithm.policy_values import PolicyError  # noqa: E402
from dtqatten.configuration.core import ConfigError  # noqa: E402
from dtqatten.configuration.system import SystemConfig  # noqa: E402
from dtqatten.driver.cache import Cache  # noqa: E402
from dtqatten.sim.machine.axi import simulated_device  # noqa: E402
from dtqatten.sim.machine.decoder import decoder_config, has_sinks, run_decoder  # noqa: E402
from dtqatten.sim.machine.decoder_blocks import TiledBlocks, block_calls  # noqa: E402
from dtqatten.sim.machine.refused_blocks import refuse_block  # noqa: E402

PROMPT, NEW = 10, 4
START = Config(rows=4, cols=4, depth=4, d_head=16, n_max=17, capacity=20)
FULL = LayerPolicy(share_0=0, share_4=1, share_8=0)
#: Tokens of all precisions; evicted ones keep their queries, in 4 bits; tiles have exponents.
MIXED = Policy(
    layers=(
        LayerPolicy(share_0=0, share_4=0.5, share_8=0.5),
        LayerPolicy(share_0=0.3, share_4=0.4, share_8=0.3, values=0.5),
    ),
    granularity="token",
    prune_queries=False,
    count_normalize=True,
    protect=("first",),
    p_follows_token=True,
    block_exponents=True,
)


SIZES = {
    "vocab_size": 60,
    "hidden_size": 96,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "eos_token_id": None,
    "pad_token_id": 0,
    "bos_token_id": 1,
}


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(5)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).eval()


def device_of(core: Config):
    return simulated_device(SystemConfig(core=core, bus_bits=64), timeout=400_000, optimize=0)


def test_a_model_without_sinks_needs_none(llama) -> None:
    assert not has_sinks(llama)
    assert not decoder_config(START, MIXED, llama.config, 8).sinks


def test_the_tokens_are_those_of_the_golden_algorithm(llama) -> None:
    """The prompt takes two calls; scales of the cache grow; tokens are evicted; V is local."""
    core = decoder_config(START, MIXED, llama.config, PROMPT + NEW)
    assert (core.n_max, core.grouped, core.v_gains, core.d_head) == (17, True, True, 16)
    assert core.chosen_values
    torch.manual_seed(1)
    ids = torch.randint(2, 60, (1, PROMPT))
    told = []
    run = run_decoder(llama, MIXED, device_of(core), core, ids, NEW, tell=told.append)
    assert run.machine == run.golden
    assert run.same_logits
    assert run.equal
    assert len(told) == 2 * NEW
    assert [(step.tokens, step.new) for step in run.steps] == [(10, 10), (11, 1), (12, 1), (13, 1)]
    for step in run.steps:
        assert step.layers == 2
        assert step.keys < 2 * step.tokens
        assert 0 < step.four_bit < step.keys
        assert min(step.cycles, step.bytes_read, step.bytes_written) > 0


def test_means_of_queries_are_biases_of_keys(llama) -> None:
    """Three query heads share a head of K and V, and its biases are of each; keys are evicted.

    Gains have signs, which are rescaled with the cache.
    """
    policy = MIXED.replace(center=True, center_queries=True, rotate=True, gains="signed")
    core = decoder_config(START, policy, llama.config, PROMPT + NEW)
    assert (core.bias_heads, core.signed_gains) == (3, True)
    torch.manual_seed(2)
    ids = torch.randint(2, 60, (1, PROMPT))
    assert run_decoder(llama, policy, device_of(core), core, ids, NEW).equal
    with pytest.raises(PolicyError, match=r"machine has bias_heads, .* set center_queries"):
        decoder_config(core, MIXED.replace(gains="signed"), llama.config, PROMPT + NEW)
    with pytest.raises(PolicyError, match=r"machine has signed_gains, the policy has not"):
        decoder_config(core, policy.replace(gains="least-error"), llama.config, PROMPT + NEW)


def test_biases_are_of_the_heads_that_share(llama) -> None:
    """Not of as many as the machine that it is made from has: a group of one has biases of one."""
    plain = transformers.LlamaConfig(
        **SIZES | {"num_key_value_heads": SIZES["num_attention_heads"]}
    )
    start = START.replace(grouped=True, bias_heads=2)
    policy = MIXED.replace(center=True, center_queries=True)
    assert decoder_config(start, policy, plain, 8).bias_heads == 1
    assert decoder_config(start, policy, llama.config, 8).bias_heads == 3


def test_values_come_after_the_choice_where_that_can_be(llama) -> None:
    """Whatever the machine that it is made from has."""
    local = START.replace(skip_tiles=True, local_values=True, chosen_values=True)
    whole = Policy.flat(2, granularity="token", prune_queries=False)
    for start, policy, chosen in ((START, MIXED, True), (local, whole, False),
                                  (START.replace(merge_rows=8), MIXED, False)):  # fmt: skip
        assert decoder_config(start, policy, llama.config, 8).chosen_values == chosen


def test_a_sliding_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistral's mask: queries of the prompt see their own 4 positions, and so does each step."""
    torch.manual_seed(6)
    config = transformers.MistralConfig(**SIZES, sliding_window=4)
    mistral = transformers.MistralForCausalLM(config).eval()
    core = decoder_config(START, MIXED, config, PROMPT + NEW)
    assert core.windows
    asked = []
    call = Cache.call
    monkeypatch.setattr(
        Cache, "call", lambda *args, **options: asked.append(options) or call(*args, **options)
    )
    ids = torch.randint(2, 60, (1, PROMPT))
    run = run_decoder(mistral, MIXED, device_of(core), core, ids, NEW)
    assert run.equal
    # The prompt's two calls in both layers; later a list has what its query sees, but for what is
    # evicted.
    assert [options["window"] for options in asked[:4]] == [4] * 4
    assert all(0 < step.keys <= 2 * 4 for step in run.steps[1:])


def test_sinks_and_a_sliding_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """gpt-oss: every layer has sinks, every other one a window of 4."""
    torch.manual_seed(6)
    config = transformers.GptOssConfig(
        **{**SIZES, "bos_token_id": None},
        head_dim=16,
        sliding_window=4,
        num_local_experts=2,
        num_experts_per_tok=1,
    )
    model = transformers.GptOssForCausalLM(config).eval()
    assert has_sinks(model)
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.self_attn.sinks, 1.0)
    core = decoder_config(START, MIXED, config, PROMPT + NEW, sinks=True)
    assert core.sinks
    assert core.windows
    asked = []
    call = Cache.call
    monkeypatch.setattr(
        Cache, "call", lambda *args, **options: asked.append(options) or call(*args, **options)
    )
    ids = torch.randint(2, 60, (1, PROMPT))
    run = run_decoder(model, MIXED, device_of(core), core, ids, NEW)
    assert run.equal
    assert [options["window"] for options in asked[:4]] == [4, 4, None, None]
    own = [layer.self_attn.sinks for layer in model.model.layers]
    for options, layer in zip(asked[:4], (0, 0, 1, 1), strict=True):
        nats = options["sinks"] / (256 * np.log2(np.e))
        assert np.abs(nats - own[layer].detach().numpy()).max() < 0.0014


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (Terms(softcap=5.0), "soft-capping"),
        (Terms(bias=torch.ones(1, 1, 4, 4)), "biases of scores"),
    ],
)
def test_scores_beyond_the_machine_are_refused(terms, message) -> None:
    op = SimpleNamespace(
        q=SimpleNamespace(codes=torch.zeros(1, 2, 4, 8)),
        k=SimpleNamespace(codes=torch.zeros(1, 2, 4, 8)),
        terms=terms,
        threshold=None,
    )
    with pytest.raises(ValueError, match=rf"layer 1 has {message}.*machine has not.*mode integer"):
        next(block_calls(1, op, 4, 2))
    with pytest.raises(ValueError, match=rf"layer 1 has {message}.*chains have not.*mode integer"):
        refuse_block(1, op)


#: Keys in 4 bits first, V in 8 and then in 4, some of it left out.
PROGRESSIVE = MIXED.replace(
    layers=(
        LayerPolicy(share_0=0, share_4=0, share_8=1, threshold=0.4),
        LayerPolicy(share_0=0.3, share_4=0.4, share_8=0.3, threshold=0.3, values=0.5),
    ),
)


def test_progressive_layers(llama) -> None:
    """Each query has a row block, of its three heads: so many calls the prompt takes."""
    core = decoder_config(START, PROGRESSIVE, llama.config, PROMPT + NEW)
    assert core.progressive
    torch.manual_seed(2)
    ids = torch.randint(2, 60, (1, PROMPT))
    device, found = device_of(core), dict.fromkeys(("tried_heads", "flat_heads"), 0)

    def count(_: object) -> None:
        # The counters are those of a layer's last call.
        for name in found:
            found[name] += device.register(name)

    run = run_decoder(llama, PROGRESSIVE, device, core, ids, NEW, tell=count)
    assert run.equal
    # Two heads of K and V, in two layers, in each forward pass.
    assert found["tried_heads"] == 2 * 2 * NEW
    assert 0 < found["flat_heads"] < found["tried_heads"]


@pytest.mark.parametrize("ending", ["-local", "-progressive", ""])
def test_policies_of_decode_steps(llama, ending) -> None:
    """All that the searched ones ask for, together, with the layer that keeps least of V."""
    shipped = find_policy(f"smollm2-ppl-wikitext2-decode{ending}")
    least = min(shipped.layers, key=lambda layer: layer.values)
    policy = shipped.replace(layers=(shipped.layers[0], least))
    assert (policy.local, policy.progressive) == (
        ending != "-progressive",
        ending != "-local",
    )
    core = decoder_config(START, policy, llama.config, PROMPT + NEW)
    assert (core.chosen_values, core.progressive) == (policy.local, policy.progressive)
    torch.manual_seed(2)
    ids = torch.randint(2, 60, (1, PROMPT))
    assert run_decoder(llama, policy, device_of(core), core, ids, NEW).equal


def test_more_query_heads_than_rows_are_not_tried(llama) -> None:
    with pytest.raises(PolicyError, match=r"3 query heads share a head .* more than the 2 rows"):
        decoder_config(START.replace(rows=2), PROGRESSIVE, llama.config, 8)


def test_segments_and_progressive_layers_refuse_each_other(llama) -> None:
    with pytest.raises(ConfigError, match="progressive is True with merge_rows = 8"):
        decoder_config(START.replace(merge_rows=8), PROGRESSIVE, llama.config, 8)


def test_pruned_tokens_that_neighbours_see_are_refused(llama) -> None:
    with pytest.raises(PolicyError, match="seen by their neighbours"):
        decoder_config(START, MIXED.replace(recent=2), llama.config, 8)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (LayerPolicy(share_0=0, share_4=1, share_8=0, heads=0.5), "without some heads"),
    ],
)
def test_policies_beyond_the_machine_are_refused(llama, layer, message) -> None:
    with pytest.raises(PolicyError, match=message):
        decoder_config(START, Policy(layers=(FULL, layer)), llama.config, 8)


@pytest.mark.parametrize(
    ("batch", "window", "message"),
    [
        (1, True, r"layer 1 has a mask that is neither causal nor a sliding window.*mode integer"),
        (2, False, "one sequence"),
    ],
)
def test_masks_and_batches_beyond_the_machine_are_refused(batch, window, message) -> None:
    bits = torch.full((batch, 4), 4)
    visible = torch.ones(batch, 1, 4, 4, dtype=torch.bool).tril()
    visible[0, 0, 3, 1] = not window
    codes = SimpleNamespace(codes=torch.zeros(batch, 2, 4, 8))
    same = dict.fromkeys(("q_bits", "k_bits", "v_bits", "queries"), bits)
    op = SimpleNamespace(q=codes, k=codes, visible=visible, terms=NO_TERMS, threshold=None, **same)
    with pytest.raises(ValueError, match=message):
        TiledBlocks(START)(1, op)
