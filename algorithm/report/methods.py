"""What is compared on a task: flat policies, searched ones, and their controls."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import Ranking
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.tasks.task import Task
from dtqatten.golden.numerics.select import PAPER_SHARES

__all__ = ["POLICIES", "SEARCHED", "Method", "methods", "template"]

#: Where the policies that searches found are kept.
POLICIES = Path(__file__).parents[1] / "policies"
#: Endings of the names of policy files, and the methods whose policies they are.
SEARCHED = {
    "": "searched",
    "-fast": "searched for speed",
    "-local": "searched, with local V pruning",
    "-signed-local": "searched, with local V pruning, unsigned weights, signed gains",
    "-unsigned": "searched, then unsigned weights",
    "-exponents": "searched, then unsigned weights with exponents",
    "-centered": "searched, then unsigned weights, and means taken out of Q",
    "-centered-exponents": "searched, then unsigned weights with exponents, and no means in Q",
    "-signed": "searched, then unsigned weights with exponents, no means in Q, signed gains",
    "-signed-15": "15 % in 8 bits, unsigned weights with exponents, no means in Q, signed gains",
    "-signed-first": "all but the first token in 4 bits, the same numbers",
    "-signed-4-bit": "all tokens in 4 bits, the same numbers",
    "-450": "searched at 0.45",
    "-600": "searched at 0.60",
    "-accurate": "searched for a loss of 1 %",
    "-values": "all 4 bit, with local V pruning",
    "-p8": "all 4 bit, with local V pruning, P at 8 bit",
    "-spatten": "SpAtten's method, searched",
    "-spatten-metric": "SpAtten's method, at equal metric",
}
#: Average shares of 0, 4 and 8-bit tokens on GPT-2 (DTQAtten, DATE 2022).
PAPER_SHARES_DECODER = (0.218, 0.52, 0.262)


def template(layers: int, causal: bool) -> Policy:
    """Return 8 bits everywhere, with the options that a family of models needs.

    Decoders need scales per token and conditioning, and all their queries; on encoders pruned
    tokens go on through the feed-forward.
    """
    if causal:
        return Policy.flat(
            layers,
            granularity="token",
            rotate=True,
            smooth=0.5,
            center=True,
            count_normalize=True,
            prune_queries=False,
            protect=("first",),
        )
    return Policy.flat(layers, granularity="token", rotate=True, pruned="ffn", p_follows_token=True)


class Method(NamedTuple):
    """What is compared with others on a task.

    Parameters
    ----------
    name : str
    policy : Policy
    mode : Mode
    steps : int
        Of fine-tuning under the policy; 0 is none.
    """

    name: str
    policy: Policy
    mode: Mode = Mode.FAKE_QUANT
    steps: int = 0


def methods(loaded: Loaded, task: Task, steps: int) -> Iterator[Method]:
    """Yield what is compared on a task.

    Searched policies are those of ``POLICIES`` that are named after model and task; what is
    fine-tuned, for ``steps``, is the model under the searched policy and, as control, in float.
    """
    layers, causal = loaded.layers, loaded.causal
    base = template(layers, causal).replace(p_follows_token=False)
    bare = Policy.flat(layers, count_normalize=causal, prune_queries=not causal)
    shares = PAPER_SHARES_DECODER if causal else PAPER_SHARES

    def flat(policy: Policy, chosen: tuple[float, float, float]) -> Policy:
        return policy.replace(layers=Policy.flat(layers, chosen).layers)

    yield Method("int8", bare)
    yield Method("all 4 bit, scales per head", flat(bare, (0.0, 1.0, 0.0)))
    yield Method("all 4 bit, conditioned", flat(base, (0.0, 1.0, 0.0)))
    narrow = base.replace(p_follows_token=True)
    yield Method("all 4 bit, P follows token", flat(narrow, (0.0, 1.0, 0.0)))
    yield Method("paper's shares, flat", flat(base, shares))
    stem = f"{loaded.name}-{task.name}"
    searched: Policy | None = None
    for suffix, name in SEARCHED.items():
        path = POLICIES / f"{stem}{suffix}.json"
        if not path.is_file():
            continue
        policy = Policy.load(path)
        yield Method(name, policy)
        if not suffix:
            searched = policy
        if suffix in ("", "-fast"):
            if not causal and not task.brief:
                yield Method(f"{name}, integer mode", policy, Mode.INTEGER)
            if policy.ranks:
                control = policy.replace(ranking=Ranking.RANDOM)
                yield Method(f"{name}, random ranking", control)
    if searched is not None and steps:
        yield Method("searched, fine-tuned", searched, steps=steps)
        yield Method("float32, fine-tuned", Policy.flat(layers), Mode.FLOAT, steps)
