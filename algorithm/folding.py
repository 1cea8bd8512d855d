"""Put rotations and factors into a model's projections, where a proof shows that this is exact.

A rotation of V belongs into the V and output projections only if nothing but attention stands
between them: a clip, a gate or a norm there gives another result. So nothing is folded on the
strength of a name. Noise of all magnitudes takes the place of each projection's output, and the
attention function must receive it bit for bit; then the model runs once as it is and once folded.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dtqatten.algorithm.conditioning import Conditioner, hadamard
from dtqatten.algorithm.policy import PolicyError

__all__ = ["TOLERANCE", "FoldingError", "Probe", "folded"]

#: Relative rms, in float32, by which a folded model's layers may differ from the model's own.
TOLERANCE = 1e-4
#: Sequences and tokens of the batch that proves it.
_BATCH = 2, 16
_WAY_OUT = "pass fold=False to rotate at run time, or take a policy without rotate and smooth"


class FoldingError(PolicyError):
    """Weights that cannot take a rotation, or cannot give it back; the message says why."""


# Where the projections of a layer are, relative to the attention module and to the layer.
_FAMILIES = (
    ("query", "key", "value", "output.dense"),
    ("q_lin", "k_lin", "v_lin", "out_lin"),
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("q_proj", "k_proj", "v_proj", "out_proj"),
)


def _projections(layer: nn.Module) -> dict[str, nn.Linear]:
    """Q, K, V and output projection of a layer of a known family, by their names; else none."""
    named = dict(layer.named_modules())
    for family in _FAMILIES:
        found: dict[str, nn.Linear] = {}
        for name in family:
            # BERT's feed-forward ends in output.dense as well.
            paths = [p for p in named if p == name or p.endswith(f".{name}")]
            paths = [p for p in paths if name != "output.dense" or "attention" in p]
            module = named[paths[0]] if len(paths) == 1 else None
            # No subclass: it may compute with more than its weight, or hold it quantized.
            if type(module) is nn.Linear and module.weight.is_floating_point():
                found[name] = module
        if len(found) == 4:
            return found
    return {}


@dataclass(eq=False)
class _Change:
    """A parameter whose channels, head by head, are multiplied by matrices.

    Parameters
    ----------
    module : nn.Linear
        The projection.
    name : str
        ``weight`` or ``bias``.
    matrix : float32 tensor ``[heads or 1, d, d]``
        Multiplies output channels, or with ``inputs`` the input channels.
    inputs : bool
        Whether it is an output projection's weight.
    """

    module: nn.Linear
    name: str
    matrix: Tensor
    inputs: bool = False

    def __post_init__(self) -> None:
        self.parameter: nn.Parameter = getattr(self.module, self.name)
        self.original: Tensor | None = None

    def multiplied(self, x: Tensor, matrix: Tensor) -> Tensor:
        """Multiply the channels of each head, at least in float32."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        columns = wide.T if self.inputs else wide
        heads = columns.reshape(-1, matrix.shape[-1], x.numel() // len(columns))
        result = (matrix.to(wide) @ heads).reshape(columns.shape)
        return result.T if self.inputs else result

    def folded(self, x: Tensor) -> Tensor:
        """Return values of the model's own basis in the rotated one."""
        return self.multiplied(x, self.matrix).to(x.dtype)

    def fold(self) -> None:
        """Change the parameter in its place."""
        self.original = self.parameter.detach().clone()
        self.parameter.data.copy_(self.folded(self.original))

    def unfolded(self) -> Tensor:
        """Return the parameter in the model's own basis.

        The original bit for bit where the parameter is what folding made of it. Otherwise it was
        trained meanwhile, and what it gained is rotated back.

        Raises
        ------
        FoldingError
            If the module has another parameter by now.
        """
        now = self.parameter.detach()
        if getattr(self.module, self.name) is not self.parameter:
            raise FoldingError(
                f"the {self.name} of a folded projection was replaced by another parameter: "
                "change its values in place, or attach with fold=False"
            )
        assert self.original is not None
        original = self.original.to(now)
        before = self.folded(original)
        if torch.equal(now, before):
            return original
        inverse = torch.linalg.inv(self.matrix.double())
        gained = self.multiplied(now, inverse) - self.multiplied(before, inverse)
        return (original + gained).to(now.dtype)

    def unfold(self) -> None:
        """Put the parameter, and a gradient it has, back into the model's own basis."""
        self.parameter.data.copy_(self.unfolded())
        if (gradient := self.parameter.grad) is not None:
            turned = self.multiplied(gradient, self.matrix.transpose(-1, -2))
            gradient.data.copy_(turned)

    def saved(self, module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        """Give ``state_dict`` the values in the model's own basis."""
        if module is not self.module:
            raise FoldingError(
                "this is a copy of a model whose policy is folded into its weights: copy the "
                "model before it is attached, or attach with fold=False"
            )
        if prefix + self.name in state:
            state[prefix + self.name] = self.unfolded()

    def loaded(
        self, module: nn.Module, state: dict[str, Any], prefix: str, meta: Any, *_: Any
    ) -> None:
        """Rotate what ``load_state_dict`` is about to copy."""
        if meta.get("assign_to_params_buffers"):
            raise FoldingError(
                "load_state_dict(assign=True) would replace weights that a policy is folded "
                "into: leave assign out, or attach with fold=False"
            )
        if module is self.module and prefix + self.name in state:
            state[prefix + self.name] = self.folded(state[prefix + self.name])


def _noise(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of both signs and of magnitudes from 2^-10 to 2^10."""
    given: Any = {"generator": generator, "dtype": torch.float32, "device": "cpu"}
    made = torch.randn(shape, **given)
    power = torch.rand(shape, **given) * 20 - 10
    return (made * power.exp2()).to(like)


class Probe:
    """Takes a session's place: keeps Q, K and V, and gives noise for an attention output.

    Parameters
    ----------
    projections : dict
        Projections of one layer, Q, K, V and output, or none where they are not known.
    """

    def __init__(self, projections: dict[str, nn.Linear]) -> None:
        self.names = list(projections)
        self.modules = list(projections.values())
        self._generator = torch.Generator("cpu").manual_seed(0)
        self._made: dict[int, Tensor] = {}
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None
        self._given: Tensor | None = None
        self._taken: Tensor | None = None
        self._trail: list[str] = []

    def attend(
        self, module: str, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return noise ``[batch, n_q, heads, d]``."""
        del module, args, kwargs
        self._trail.append("attention")
        self._seen = q.clone(), k.clone(), v.clone()
        shape = q.shape[0], q.shape[2], q.shape[1], v.shape[3]
        self._given = _noise(shape, q, self._generator)
        return self._given.clone()

    def watch(self, layer: nn.Module, stack: ExitStack) -> None:
        """Put noise in the place of the projections' outputs until the stack is left."""

        def make(index: int, *given: Any) -> Tensor:
            self._made[index] = _noise(given[2].shape, given[2], self._generator)
            return self._made[index].clone()  # what follows may work in place

        def take(_: nn.Module, args: tuple[Any, ...]) -> None:
            self._taken = args[0].clone()

        def note(name: str, *_: Any) -> None:
            self._trail.append(name)

        for name, module in layer.named_modules():
            if not list(module.children()):
                hook = partial(note, name.rpartition(".")[2])
                stack.callback(module.register_forward_pre_hook(hook).remove)
        for index, module in enumerate(self.modules[:3]):
            stack.callback(module.register_forward_hook(partial(make, index)).remove)
        stack.callback(self.modules[3].register_forward_pre_hook(take).remove)

    def arrives(self, index: int) -> bool:
        """Whether a projection's output (0 Q, 1 K, 2 V) is what the attention function gets."""
        if self._seen is None or index not in self._made:
            return False
        seen = self._seen[index].transpose(1, 2).flatten(2)
        return torch.equal(seen, self._made[index])

    def leaves(self) -> bool:
        """Whether attention's output is what the output projection gets."""
        if self._given is None or self._taken is None:
            return False
        return torch.equal(self._given.flatten(2), self._taken)

    def between(self) -> str:
        """Say where V or the attention output is changed, and which modules run there."""
        value, out = self.names[2], self.names[3].split(".")[-1]
        if self._seen is None:
            return "its attention does not go through transformers' attention interface"
        places = []
        for ends, whole in (
            ((value, "attention"), self.arrives(2)),
            (("attention", out), self.leaves()),
        ):
            if not whole:
                first, last = ends
                ran = self._trail[self._trail.index(first) + 1 :] if first in self._trail else []
                ran = ran[: ran.index(last)] if last in ran else []
                ran = [name for name in ran if name != "attention"]
                what = ", ".join(ran) or "an operation of its own (a clip, a gate, a scale)"
                places.append(f"between {first} and {last} stands {what}")
        return "; ".join(places)

    @property
    def seen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Q, K and V as the attention function got them."""
        assert self._seen is not None
        return self._seen


@contextmanager
def _quiet(model: nn.Module) -> Iterator[None]:
    """Run a model without dropout, gradients or half precision; parameters stay untouched."""
    training = [(m, m.training) for m in model.modules()]
    halves = [
        (x, x.data)
        for x in (*model.parameters(), *model.buffers())
        if x.dtype in (torch.float16, torch.bfloat16)
    ]
    try:
        for module, _ in training:
            module.training = False
        for tensor, data in halves:
            tensor.data = data.float()
        with torch.no_grad(), torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield
    finally:
        for tensor, data in halves:
            tensor.data = data
        for module, was in training:
            module.training = was


def _batch(model: Any) -> dict[str, Any]:
    """Random tokens, the same for every model of as many."""
    if getattr(model, "main_input_name", "input_ids") != "input_ids":
        raise FoldingError(
            f"{type(model).__name__} takes {model.main_input_name}, and a proof that folding is "
            f"exact needs token ids: {_WAY_OUT}"
        )
    rows, n = _BATCH
    n = min(n, getattr(model.config, "max_position_embeddings", None) or n)
    known = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator("cpu").manual_seed(0)
    ids = torch.randint(known, (rows, n), generator=generator, device="cpu")
    given: dict[str, Any] = {"input_ids": ids.to(next(model.parameters()).device)}
    takes = inspect.signature(model.forward).parameters.values()
    if any(p.name == "use_cache" or p.kind is p.VAR_KEYWORD for p in takes):
        given["use_cache"] = False
    return given


def _traced(
    model: Any, layers: Sequence[nn.Module], batch: dict[str, Any]
) -> tuple[list[tuple[Any, Any]], list[Tensor]]:
    """Run a model; return each layer's arguments, and the outputs of the layers and the model."""
    calls: dict[int, list[tuple[Any, Any]]] = {index: [] for index in range(len(layers))}
    outputs: dict[int, Tensor] = {}

    def keep(index: int, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls[index].append((args, kwargs))
        outputs[index] = (output[0] if isinstance(output, tuple) else output).clone()

    with ExitStack() as stack:
        for index, layer in enumerate(layers):
            hook = layer.register_forward_hook(partial(keep, index), with_kwargs=True)
            stack.callback(hook.remove)
        outputs[len(layers)] = model(**batch)[0]
    for index, found in calls.items():
        if len(found) != 1:
            raise FoldingError(
                f"layer {index} ({type(layers[index]).__name__}) ran {len(found)} times in a "
                f"forward pass, and a proof needs once: {_WAY_OUT}"
            )
    return [found[0] for found in calls.values()], [outputs[i] for i in sorted(outputs)]


def _changes(conditioner: Conditioner, probe: Probe) -> list[_Change]:
    """List what a layer's conditioner changes in its projections."""
    q, k, v, o = probe.modules
    queries, keys, values = probe.seen
    conditioner.check(keys)
    heads, qk_size, v_size = queries.shape[1], queries.shape[3], values.shape[3]
    changes = []

    def each(module: nn.Linear, matrix: Tensor) -> None:
        for name, _ in module.named_parameters(recurse=False):
            changes.append(_Change(module, name, matrix))

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
        changes.append(_Change(o, "weight", hadamard(v_size)[None], inputs=True))
    return changes


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
    with _quiet(model):
        batch = _batch(model)
        calls, expected = _traced(model, layers, batch)
        result, changes = _proposed(model, layers, conditioners, calls, probing)
        held = [(c.parameter, c.parameter.data) for c in changes]
        try:
            for change in changes:
                change.parameter.data = change.folded(change.parameter.data)
            with floating(result):
                _, got = _traced(model, layers, batch)
        finally:
            for parameter, data in held:
                parameter.data = data
        _compare(model, layers, got, expected)
    hooks = []
    try:
        with torch.no_grad():
            for change in changes:
                change.fold()
                hooks += [
                    change.module.register_state_dict_post_hook(_hook(change.saved)),
                    change.module.register_load_state_dict_pre_hook(_hook(change.loaded)),
                ]
        yield result
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
) -> tuple[list[Conditioner], list[_Change]]:
    """Probe each layer; return what may be folded and what that changes."""
    uses: dict[nn.Parameter, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        uses[parameter] = uses.get(parameter, 0) + 1
    probes = [Probe(_projections(layer)) for layer in layers]
    result, changes = [], []
    for index, (layer, probe) in enumerate(zip(layers, probes, strict=True)):
        if not probe.modules:
            continue
        where = f"layer {index} ({type(layer).__name__})"
        parameters = [p for module in probe.modules for p in module.parameters()]
        if any(uses[p] > 1 for p in parameters):
            raise FoldingError(
                f"{where} shares its projections' weights with another place: {_WAY_OUT}"
            )
        if any(p.is_meta for p in parameters):
            raise FoldingError(f"the weights of {where} are offloaded: {_WAY_OUT}")
    with probing(probes):
        for layer, probe, (args, kwargs) in zip(layers, probes, calls, strict=True):
            if probe.modules:
                with ExitStack() as stack:
                    probe.watch(layer, stack)
                    layer(*args, **kwargs)
    for index, (conditioner, probe) in enumerate(zip(conditioners, probes, strict=True)):
        if not probe.modules:
            result.append(conditioner)
            continue
        if conditioner.rotated and not (probe.arrives(2) and probe.leaves()):
            raise FoldingError(
                f"layer {index} ({type(layers[index]).__name__}) cannot have its rotation of V "
                f"folded into its weights: {probe.between()}: {_WAY_OUT}"
            )
        told = replace(
            conditioner,
            qk_folded=probe.arrives(0) and probe.arrives(1),
            v_folded=conditioner.rotated,
        )
        result.append(told)
        changes += _changes(told, probe)
    return result, changes


def _compare(
    model: nn.Module, layers: Sequence[nn.Module], got: list[Tensor], expected: list[Tensor]
) -> None:
    """Refuse if an output of the folded model is not the model's own."""
    for index, (one, other) in enumerate(zip(got, expected, strict=True)):
        error = float((one - other).norm() / other.norm().clamp_min(1e-30))
        if not error <= TOLERANCE:
            last = index == len(layers)
            name = type(model if last else layers[index]).__name__
            where = f"the output ({name})" if last else f"layer {index} ({name})"
            raise FoldingError(
                f"{where} differs by {error:.2g} with the rotation in the weights, more than "
                f"{TOLERANCE:g}: something else uses its projections, or its attention is "
                f"not plain softmax attention: {_WAY_OUT}"
            )
