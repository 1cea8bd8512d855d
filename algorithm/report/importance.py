"""What importance is worth on a decoder: tokens of 8 bits chosen by it, by chance, by place."""

from collections.abc import Iterator

from dtqatten.algorithm.evaluate import evaluate
from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import Ranking
from dtqatten.algorithm.report.methods import Method
from dtqatten.algorithm.report.numbers import own_policy
from dtqatten.algorithm.tasks.task import Score, Task
from dtqatten.files.errors import UsageError

__all__ = ["rankings", "with_share"]

#: Ending of the policy whose tokens of 8 bits are chosen in other ways.
ENDING = "-signed"
#: Bit operations may differ by so much, relative to those in 8 bits.
CLOSE = 5e-4


def with_share(policy: Policy, share: float) -> Policy:
    """Return a policy with another share of tokens in 8 bits, all others in 4 bits."""
    layer = LayerPolicy(share_0=0.0, share_4=1 - share, share_8=share)
    return policy.replace(layers=(layer,) * len(policy.layers))


def rankings(loaded: Loaded, task: Task) -> Iterator[Method]:
    """Yield the policy with tokens of 8 bits chosen by importance, by chance and by place.

    All have the bit operations of the first: an early token of 8 bits is a key of more queries than
    a late one and costs more, so that shares differ. Also no token of 8 bits, and the first alone.

    Raises
    ------
    UsageError
        If the project has no such policy, or it prunes.
    """
    chosen = own_policy(loaded.name, task.name, ENDING).replace(record={})
    if any(layer.share_0 for layer in chosen.layers):
        raise UsageError(f"{loaded.name}-{task.name}{ENDING} prunes: take one that does not")
    yield Method("by importance", chosen)
    few = type(task)(task.data, 1)
    few.name = task.name
    # Bits do not depend on the plain model's score.
    nothing = Score(1.0, 0.0, 0.0, 1)

    def operations(policy: Policy) -> float:
        return evaluate(loaded, few, policy, part="train", reference=nothing).bops_ratio

    goal, none = (operations(each) for each in (chosen, with_share(chosen, 0.0)))
    for ranking, name in ((Ranking.RANDOM, "at random"), (Ranking.FIRST, "the first ones")):
        share = chosen.layers[-1].share_8
        policy = with_share(chosen.replace(ranking=ranking), share)
        for _ in range(6):
            found = operations(policy)
            if abs(found - goal) < CLOSE:
                break
            share = round(share * (goal - none) / (found - none), 3)
            policy = with_share(policy, share)
        yield Method(name, policy)
    yield Method("the first token alone", with_share(chosen, 1 / task.length))
    yield Method("none", with_share(chosen, 0.0))
