"""A session follows the model's passes and threads, or refuses by name."""

import threading

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from decoders import PRUNING, tokens
from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.models import ModelError
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached, calibrate
from dtqatten.algorithm.session.passes import SessionError


def test_gradient_checkpointing_is_refused_by_name(llama, batch):
    llama.train()
    llama.gradient_checkpointing_enable()
    with attached(llama, Policy.flat(3)) as session:
        with pytest.raises(SessionError, match="gradient_checkpointing_disable"):
            llama(**batch)
        with torch.no_grad():
            llama(**batch)
        llama.gradient_checkpointing_disable()
        llama(**batch).logits.sum().backward()
        assert session.tally.sequences == 2 * 2


@pytest.mark.parametrize(("whole", "reentrant"), [(False, False), (False, True), (True, False)])
def test_a_recomputation_by_other_means_is_refused(llama, batch, whole, reentrant):
    """No flag of the model tells: the block itself sees that a backward pass runs it."""
    owner = llama if whole else llama.model.layers[1]
    forward = owner.forward

    def again(*args, **kwargs):
        # Reentrant checkpoints take no keywords.
        return checkpoint(lambda *x: forward(*x, **kwargs), *args, use_reentrant=reentrant)

    owner.forward = again
    with attached(llama, Policy.flat(3)) as session:
        out = llama(**batch)[0]
        with pytest.raises(SessionError, match="backward pass"):
            out.sum().backward()
        assert session.tally.sequences == 2


def test_a_model_without_its_head_gives_the_same(llama, batch):
    """Also after the whole model ran on another batch, and with its own mask and cache."""
    policy = PRUNING.replace(prune_queries=True, recent=0, protect=("first", "special"))
    other = {"input_ids": tokens(2, 9), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    with torch.no_grad(), attached(llama, policy, special_ids=[5]) as session:
        expected = llama(**batch).logits
        shares = session.tally.shares
    with torch.no_grad(), attached(llama, policy, special_ids=[5]) as session:
        first = llama.lm_head(llama.model(**batch).last_hidden_state)
        assert session.tally.shares == shares
        llama(**other)
        second = llama.lm_head(llama.model(**batch).last_hidden_state)
    where = batch["attention_mask"].bool()
    assert torch.equal(first[where], expected[where])
    assert torch.equal(second[where], expected[where])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_arguments_count_by_name_wherever_they_stand(family, request):
    """GPT-2 takes its cache second, Llama its mask: each is found in its place."""
    model = request.getfixturevalue(family)
    ids, mask = tokens(2, 9), torch.ones(2, 9, dtype=torch.long)
    mask[1, :4] = 0
    outputs = []
    with torch.no_grad(), attached(model, Policy.flat(model.config.num_hidden_layers)) as session:
        for by_name in (True, False):
            cache, parts = session.cache(), []
            for own, seen in ((slice(0, 6), 6), (slice(6, 9), 9)):
                if by_name:
                    given = {"past_key_values": cache, "attention_mask": mask[:, :seen]}
                    out = model(input_ids=ids[:, own], **given)
                elif family == "gpt2":
                    out = model(ids[:, own], cache, mask[:, :seen])
                else:
                    out = model(ids[:, own], mask[:, :seen], None, cache)
                parts.append(out.logits)
            outputs.append(torch.cat(parts, 1)[mask.bool()])
    assert torch.equal(outputs[1], outputs[0])


def test_a_layer_on_its_own_is_refused(bert):
    with torch.no_grad(), attached(bert, Policy.flat(3)):
        with pytest.raises(SessionError, match="outside a forward pass"):
            bert.encoder.layer[1](torch.randn(1, 4, 32))
        bert(tokens(1, 4))
        with pytest.raises(SessionError, match="outside a forward pass"):
            bert.encoder.layer[1](torch.randn(1, 4, 32))


def test_attention_probabilities_are_refused(bert, llama, batch):
    for model in (bert, llama):
        with (
            torch.no_grad(),
            attached(model, Policy.flat(3)),
            pytest.raises(SessionError, match=r"output_attentions.*record=True"),
        ):
            model(**batch, output_attentions=True)
        model.set_attn_implementation("eager")
        model.config.output_attentions = True
        with torch.no_grad(), attached(model, Policy.flat(3)):
            with pytest.raises(SessionError, match="output_attentions"):
                model(**batch)
            model(**batch, output_attentions=False)


def test_a_pass_that_broke_off_does_not_stay_open(bert, batch):
    with torch.no_grad(), attached(bert, Policy.flat(3)):
        expected = bert(**batch)[0]
        with pytest.raises(IndexError):
            bert(input_ids=torch.full((1, 3), 99))
        assert torch.equal(bert(**batch)[0], expected)


def test_two_threads_on_one_model_are_refused(bert, batch):
    """The second comes while the first waits in a layer."""
    inside, done, seen = threading.Event(), threading.Event(), []

    def wait(*_):
        inside.set()
        assert done.wait(20)

    def second():
        assert inside.wait(20)
        try:
            with torch.no_grad():
                bert(**batch)
        except SessionError as e:
            seen.append(str(e))
        finally:
            done.set()

    with torch.no_grad(), attached(bert, Policy.flat(3)) as session:
        expected = bert(**batch)[0]
        hook = bert.encoder.layer[1].register_forward_pre_hook(wait)
        other = threading.Thread(target=second)
        other.start()
        got = bert(**batch)[0]
        other.join()
        hook.remove()
        assert len(seen) == 1
        assert "another thread" in seen[0]
        assert torch.equal(got, expected)
        assert session.tally.sequences == 4


def test_two_models_in_two_threads(make_bert, batch):
    models = [make_bert(seed=s) for s in (0, 1)]
    policy = PRUNING.replace(prune_queries=True, recent=0)

    def run(model):
        with torch.no_grad(), attached(model, policy) as session:
            return model(**batch)[0], session.tally

    expected = [run(model) for model in models]
    got = [[], []]
    start = threading.Barrier(2)

    def work(index):
        start.wait(20)
        got[index] += [run(models[index]) for _ in range(4)]

    workers = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for found, (output, tally) in zip(got, expected, strict=True):
        assert len(found) == 4
        assert all(torch.equal(o, output) and t == tally for o, t in found)


def test_a_compiled_model_is_refused(make_bert, batch):
    """Whether it was compiled or even ran before, and whether a part of it compiles itself."""
    message = "called through torch.compile, and a policy"
    for part, before in ((False, False), (False, True), (True, False)):
        torch._dynamo.reset()
        bert = make_bert()
        called = bert if part else torch.compile(bert, backend="eager")
        with torch.no_grad():
            if before:
                called(**batch)
            with attached(bert, Policy.flat(3)):
                if part:
                    bert.encoder.compile(backend="eager")
                with pytest.raises(SessionError, match=message):
                    called(**batch)
        name = "BertEncoder" if part else "OptimizedModule"
        with (
            pytest.raises(ModelError, match=rf"^{name} is compiled, .*without torch.compile$"),
            attached(called, Policy.flat(3)),
        ):
            pass
    torch._dynamo.reset()


def test_options_without_effect_are_refused(bert, llama, batch):
    with pytest.raises(PolicyError, match="smooth is True"):
        Policy.flat(3, smooth=True)
    few = LayerPolicy(share_0=0, share_4=1, share_8=0, values=0.5)
    with (
        pytest.raises(PolicyError, match=r"values below 1.*mode float"),
        attached(bert, Policy(layers=(few,) * 3), "float"),
    ):
        pass
    with torch.no_grad(), attached(bert, PRUNING), pytest.raises(PolicyError, match="recent is 2"):
        bert(**batch)
    with torch.no_grad(), attached(bert, Policy.flat(3)) as session:
        session.compute = lambda layer, operands: None
        with pytest.raises(ValueError, match="mode integer"):
            bert(**batch)
    measured = calibrate(bert, [batch])
    with (
        pytest.raises(ValueError, match="calibration has 2 layers"),
        attached(bert, Policy.flat(3, smooth=0.5), calibration=measured[:2]),
    ):
        pass
    with (
        torch.no_grad(),
        attached(llama, Policy.flat(3, smooth=0.5), calibration=measured, fold=False),
        pytest.raises(ValueError, match="calibrate this model"),
    ):
        llama(**batch)
