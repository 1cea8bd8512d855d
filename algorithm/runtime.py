"""Dynamic token quantization inside transformers models, through their public interfaces.

:func:`attached` registers an attention function and hooks on a model for as long as a context
lasts; the model's own code runs unchanged.
"""

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dtqatten.algorithm.block.operands import BASE_ARRAYS
from dtqatten.algorithm.conditioning import Calibration, Conditioner, Observer
from dtqatten.algorithm.folding.fold import folded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError, Protect
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.session.dispatch import dispatched
from dtqatten.algorithm.session.hooks import running
from dtqatten.algorithm.session.session import Session
from dtqatten.algorithm.session.support import Stack, check_support, layers_of, stacks_of
from dtqatten.golden.numerics.local_values import Arrays

__all__ = ["attached", "calibrate", "calibrated"]

# Models that are attached, or about to be.
_attached: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()
_attaching = threading.Lock()


@contextmanager
def attached(
    model: Any,
    policy: Policy,
    mode: Mode | str = Mode.FAKE_QUANT,
    *,
    special_ids: Sequence[int] = (),
    calibration: Sequence[Calibration] | None = None,
    fold: bool = True,
    record: bool = False,
    arrays: Arrays = BASE_ARRAYS,
) -> Iterator[Session]:
    """Run a model's attention under a policy while the context lasts.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Encoder, decoder, both in one, or one of several parts.
    policy : Policy
        One layer policy a layer of the model, in the order of
        :func:`~dtqatten.algorithm.session.support.stacks_of`.
    mode : Mode
        ``integer``, ``fake-quant`` or ``float``.
    special_ids : sequence of int
        Special tokens, for policies that protect them.
    calibration : sequence of Calibration, optional
        From :func:`calibrate`, for policies that smooth or center.
    fold : bool
        Put rotations and factors into the weights where a proof shows that to be exact
        (:func:`dtqatten.algorithm.folding.folded`). False conditions at run time, as models of
        shared weights or several stacks always do.
    record : bool
        Keep what each layer did in :attr:`Session.records`.
    arrays : Arrays
        Of the machine whose row blocks choose values, for policies with local values, or try keys
        in 4 bits, for progressive layers; those of preset ``base`` unless given.

    Yields
    ------
    Session
        State and statistics.

    Raises
    ------
    ModelError
        If the model does not attend by transformers' AttentionInterface, has no list of layers, or
        is compiled; in a forward pass, if a layer does not attend once to its own tokens and to its
        encoder's, or an argument or mask is not honoured.
    PolicyError
        If policy, mode and model do not fit.
    FoldingError
        If V's rotation cannot be folded; a :class:`PolicyError`.
    ValueError
        If a calibration is missing or of another model, or the model is attached already.
    """
    check_support(model)
    stacks = stacks_of(model)
    layers = [layer for stack in stacks for layer in stack.layers]
    mode, name = Mode(mode), type(model).__name__
    _refuse_unfit(policy, mode, stacks, name, special_ids)
    conditioners = _conditioners(policy, len(layers), name, calibration)

    def floating(conditioned: Sequence[Conditioner]) -> AbstractContextManager[None]:
        flat = Policy.flat(len(layers))
        return running(model, stacks, Session(flat, Mode.FLOAT, conditioned, stacks))

    with ExitStack() as stack:
        stack.enter_context(_claimed(model))
        # Shared weights cannot hold what differs from layer to layer; a proof runs one stack.
        shared = len(set(layers)) < len(layers)
        if fold and not shared and len(stacks) == 1:
            conditioners = stack.enter_context(
                folded(model, layers, conditioners, partial(dispatched, model, layers), floating)
            )
        session = Session(policy, mode, conditioners, stacks, special_ids, record, name)
        session.arrays = arrays
        stack.enter_context(running(model, stacks, session))
        yield session


def calibrate(model: Any, batches: Sequence[dict[str, Tensor]]) -> list[Calibration]:
    """Measure each layer's Q, K and V on batches of the unquantized model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Encoder or decoder.
    batches : sequence of dict
        Arguments of the model's forward pass.

    Raises
    ------
    ValueError
        If there is no batch.
    """
    layers = len(layers_of(model))
    with torch.no_grad(), attached(model, Policy.flat(layers), Mode.FLOAT) as session:
        session.observers = [Observer() for _ in range(layers)]
        for batch in batches:
            model(**batch)
        return [observer.result() for observer in session.observers]


def calibrated(
    model: Any, policy: Policy, batch: dict[str, Tensor]
) -> Sequence[Calibration] | None:
    """Measure a model on one batch if a policy needs it; else there is nothing to know.

    For a text on the spot. :func:`dtqatten.algorithm.evaluate.calibration_of` measures on a task's
    training data.
    """
    if not policy.calibrated:
        return None
    return calibrate(model, [batch])


def _refuse_unfit(
    policy: Policy, mode: Mode, stacks: Sequence[Stack], name: str, special_ids: Sequence[int]
) -> None:
    """Refuse a policy that does not fit a model of that name, its layers or the mode.

    Parameters
    ----------
    policy : Policy
    mode : Mode
    stacks : sequence of Stack
        Of the model.
    name : str
        Of the model's class, for messages.
    special_ids : sequence of int
        Special tokens; empty if they are unknown.
    """
    layers = stacks[-1].places.stop
    if len(policy.layers) != layers:
        raise PolicyError(
            f"the policy has {len(policy.layers)} layers, {name} has "
            f"{layers}: use a policy made for this model"
        )
    for stack in stacks[1:]:
        first = policy.layers[stack.first]
        if first.share_0 > 0 or first.heads < 1:
            raise PolicyError(
                f"layer {stack.first} is the first of another stack of {name}, and prunes tokens "
                "or heads that nothing has ranked there: set its share_0 to 0 and heads to 1"
            )
    crossing = [stack for stack in stacks if stack.encoder is not None]
    if crossing and policy.calibrated:
        raise PolicyError(
            f"{name} has cross-attention, whose Q, K and V are not calibrated: set smooth to null, "
            "center and center_queries to false"
        )
    for layer in (place for stack in crossing for place in stack.places):
        if policy.layers[layer].threshold is not None:
            raise PolicyError(
                f"layer {layer} of {name} is progressive, which is not defined for "
                "cross-attention: set its threshold to null"
            )
    if Protect.SPECIAL in policy.protect and not special_ids:
        raise PolicyError("the policy protects special tokens: pass their ids as special_ids")
    if mode is Mode.FLOAT and any(x.values < 1 for x in policy.layers):
        raise PolicyError(
            "the policy prunes V by head (values below 1), which mode float leaves out: use "
            "fake-quant or integer"
        )


def _conditioners(
    policy: Policy, layers: int, name: str, calibration: Sequence[Calibration] | None
) -> list[Conditioner]:
    """Make each layer's conditioner; refuse the calibration of another model.

    Parameters
    ----------
    policy : Policy
    layers : int
        Number of the model's layers.
    name : str
        Of the model's class, for messages.
    calibration : sequence of Calibration, optional
        One a layer.
    """
    measured = [None] * layers if calibration is None else list(calibration)
    if len(measured) != layers:
        raise ValueError(
            f"the calibration has {len(measured)} layers, {name} has {layers}: calibrate this model"
        )
    rules = policy.rotate, policy.smooth, policy.center, policy.center_queries
    return [Conditioner.make(*rules, m) for m in measured]


@contextmanager
def _claimed(model: nn.Module) -> Iterator[None]:
    """Keep a model from being attached twice, also by another thread."""
    modules = list(model.modules())
    with _attaching:
        if any(module in _attached for module in modules):
            raise ValueError("the model is attached already: leave the other context first")
        _attached.update(modules)
    try:
        yield
    finally:
        with _attaching:
            _attached.difference_update(modules)
