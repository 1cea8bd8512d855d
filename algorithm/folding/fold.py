"""Put rotations and factors into a model's projections, where a proof shows that this is exact.

A rotation of V belongs into the V and output projections only if nothing but attention stands
between them: a clip, a gate or a norm there gives another result. So nothing is folded on the
strength of a name. Noise of all magnitudes takes the place of each projection's output, and the
attention function must receive it bit for bit; then the model runs once as it is and once folded.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dtqatten.algorithm.conditioning import Conditioner, hadamard
from dtqatten.algorithm.folding.change import Change
from dtqatten.algorithm.folding.errors import WAY_OUT, FoldingError
from dtqatten.algorithm.folding.probe import Probe
from dtqatten.algorithm.folding.projections import projections_of
from dtqatten.algorithm.folding.tracing import batch_for, quiet, traced

__all__ = ["TOLERANCE", "folded"]

#: Relative rms, in float32, by which a folded model's layers may differ from the model's own.
TOLERANCE = 1e-4


@contextmanager
def folded(
    model: Any,
    layers: Sequence[nn.Module],
    conditioners: Sequence[Conditioner],
    probing: Callable[[Sequence[Probe]], AbstractContextManager[None]],
    floating: Callable[[Sequence[Conditioner]], AbstractContextManager[None]],
) -> Iterator[list[Conditioner]]:
    """Put rotations and factors into the weights for as long as the context lasts.

    V's rotation goes into the V and output projections; Q's and K's rotation and factors go into
    theirs where attention gets what they give, so not where a rotary embedding or a norm follows.
    Layers whose projections are not known stay as they are. What is not folded is conditioned in
    the attention function, which is as exact.

    ``state_dict`` and ``save_pretrained`` give, and ``load_state_dict`` takes, weights of the
    model's own basis. At the end the weights return to it: bit for bit, and what training added to
    them meanwhile up to the rounding of a rotation. Gradients are turned with them.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model.
    layers : sequence of modules
        The model's layers.
    conditioners : sequence of Conditioner
        One a layer.
    probing : callable
        Gives a context in which each layer's attention goes to its probe.
    floating : callable
        Gives a context in which the model runs under conditioners, with nothing quantized.

    Yields
    ------
    list of Conditioner
        The conditioners, told what is folded.

    Raises
    ------
    FoldingError
        If V's rotation would change a layer's output, or the model's differs by more than
        ``TOLERANCE``. The weights are as they were.
    """
    if not any(c.rotated or c.factors is not None for c in conditioners):
        yield list(conditioners)
        return
    with quiet(model):
        batch = batch_for(model)
        calls, expected = traced(model, layers, batch)
        result, changes = _proposed(model, layers, conditioners, calls, probing)
        held = [(c.parameter, c.parameter.data) for c in changes]
        try:
            for change in changes:
                change.parameter.data = change.folded(change.parameter.data)
            with floating(result):
                _, got = traced(model, layers, batch)
        finally:
            for parameter, data in held:
                parameter.data = data
        _compare(model, layers, got, expected)
    with _in_weights(changes):
        yield result


@contextmanager
def _in_weights(changes: Sequence[Change]) -> Iterator[None]:
    """Change parameters, and what is saved of and loaded into them, until the context ends."""
    hooks = []
    try:
        with torch.no_grad():
            for change in changes:
                change.fold()
                hooks += [
                    change.module.register_state_dict_post_hook(_hook(change.saved)),
                    change.module.register_load_state_dict_pre_hook(_hook(change.loaded)),
                ]
        yield
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for change in changes:
                if change.original is not None:
                    change.unfold()


def _hook(method: Callable[..., None]) -> Callable[..., None]:
    """Make a function of a method: PyTorch marks hooks, and a method cannot be marked."""
    return lambda *args: method(*args)


def _proposed(
    model: nn.Module,
    layers: Sequence[nn.Module],
    conditioners: Sequence[Conditioner],
    calls: Sequence[tuple[Any, Any]],
    probing: Callable[[Sequence[Probe]], AbstractContextManager[None]],
) -> tuple[list[Conditioner], list[Change]]:
    """Probe each layer; return what may be folded and what that changes.

    Parameters
    ----------
    model, layers, conditioners, probing
        As of :func:`folded`.
    calls : sequence of tuple
        Positional and keyword arguments of each layer, in a pass of the model.
    """
    probes = [Probe(projections_of(layer)) for layer in layers]
    _refuse_unchangeable(model, layers, probes)
    with probing(probes):
        for layer, probe, (args, kwargs) in zip(layers, probes, calls, strict=True):
            if probe.modules:
                with ExitStack() as stack:
                    probe.watch(layer, stack)
                    layer(*args, **kwargs)
    result, changes = [], []
    for index, (conditioner, probe) in enumerate(zip(conditioners, probes, strict=True)):
        if not probe.modules:
            result.append(conditioner)
            continue
        if conditioner.rotated and not (probe.arrives(2) and probe.leaves()):
            raise FoldingError(
                f"layer {index} ({type(layers[index]).__name__}) cannot have its rotation of V "
                f"folded into its weights: {probe.between()}: {WAY_OUT}"
            )
        told = replace(
            conditioner,
            qk_folded=probe.arrives(0) and probe.arrives(1),
            v_folded=conditioner.rotated,
        )
        result.append(told)
        changes += _changes(told, probe)
    return result, changes


def _refuse_unchangeable(
    model: nn.Module, layers: Sequence[nn.Module], probes: Sequence[Probe]
) -> None:
    """Refuse projections whose weights are used elsewhere too, or are not there."""
    uses: dict[nn.Parameter, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        uses[parameter] = uses.get(parameter, 0) + 1
    for index, (layer, probe) in enumerate(zip(layers, probes, strict=True)):
        if not probe.modules:
            continue
        where = f"layer {index} ({type(layer).__name__})"
        parameters = [p for module in probe.modules for p in module.parameters()]
        if any(uses[p] > 1 for p in parameters):
            raise FoldingError(
                f"{where} shares its projections' weights with another place: {WAY_OUT}"
            )
        if any(p.is_meta for p in parameters):
            raise FoldingError(f"the weights of {where} are offloaded: {WAY_OUT}")


def _compare(
    model: nn.Module, layers: Sequence[nn.Module], got: list[Tensor], expected: list[Tensor]
) -> None:
    """Refuse if an output of the folded model is not the model's own.

    Parameters
    ----------
    model : nn.Module
        Named in the message.
    layers : sequence of modules
        The model's layers.
    got, expected : list of tensor
        Outputs of the layers and, last, the model: folded, and as it is.
    """
    for index, (one, other) in enumerate(zip(got, expected, strict=True)):
        error = float((one - other).norm() / other.norm().clamp_min(1e-30))
        if not error <= TOLERANCE:
            last = index == len(layers)
            name = type(model if last else layers[index]).__name__
            where = f"the output ({name})" if last else f"layer {index} ({name})"
            raise FoldingError(
                f"{where} differs by {error:.2g} with the rotation in the weights, more than "
                f"{TOLERANCE:g}: something else uses its projections, or its attention is "
                f"not plain softmax attention: {WAY_OUT}"
            )


def _changes(conditioner: Conditioner, probe: Probe) -> list[Change]:
    """List what a layer's conditioner changes in its projections."""
    q, k, v, o = probe.modules
    queries, keys, values = probe.seen
    conditioner.check(keys)
    heads, qk_size, v_size = queries.shape[1], queries.shape[3], values.shape[3]
    changes = []

    def each(module: nn.Linear, matrix: Tensor) -> None:
        for name, _ in module.named_parameters(recurse=False):
            changes.append(Change(module, name, matrix))

    if conditioner.qk_folded:
        plain = torch.eye(qk_size, dtype=torch.float32, device="cpu")
        turn = hadamard(qk_size) if conditioner.rotated else plain
        factors = conditioner.factors
        narrow = plain.new_ones(1, qk_size) if factors is None else factors.to(plain)
        wide = narrow if factors is None else narrow.repeat_interleave(heads // len(narrow), 0)
        each(q, turn * wide[:, None])
        each(k, turn / narrow[:, None])
    if conditioner.v_folded:
        each(v, hadamard(v_size)[None])
        changes.append(Change(o, "weight", hadamard(v_size)[None], inputs=True))
    return changes
