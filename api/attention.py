"""Attention on the golden model or on the simulated machine, from float arrays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtqatten.api.cost import Cost, counted_cost, predicted_cost
from dtqatten.api.layers import Cascade, Shares
from dtqatten.api.machines import Machine, fitted
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.chain import Chain
from dtqatten.driver.device import Device
from dtqatten.driver.expected import Expected, compare_results, expected_layer
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.codes import FloatArray
from dtqatten.golden.numerics.select import PAPER_SHARES
from dtqatten.interface.registers import Control

__all__ = ["Attention", "Backend", "Cost", "attention", "attention_layers", "on_device"]

Backend = Literal["golden", "rtl"]

#: Fraction bits of an importance.
IMPORTANCE_FRACTION = 16


@dataclass(frozen=True, eq=False)
class Attention:
    """A layer's results.

    Attributes
    ----------
    output : float array ``[heads, n, d]``
        Attention output; 0 for the tokens that the layer did not compute.
    precision : uint8 array ``[n]``
        Bits of each token in this layer: 0, 4 or 8.
    ids : int array
        Tokens kept for the next layer, 4-bit ones first, ascending in each class.
    bits : uint8 array
        Precision of each of ``ids`` there.
    importance : float array ``[n]``
        Probability that each token received, summed over queries and heads (and over the layers
        before, if the machine accumulates it).
    cost : Cost
    """

    output: FloatArray
    precision: NDArray[np.uint8]
    ids: NDArray[np.int64]
    bits: NDArray[np.uint8]
    importance: FloatArray
    cost: Cost

    @property
    def cycles(self) -> int:
        """The cost's cycles."""
        return self.cost.cycles


def attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    preset: Machine = "base",
    bits: ArrayLike | None = None,
    shares: Shares = PAPER_SHARES,
    causal: bool = False,
    backend: Backend = "golden",
) -> Attention:
    """Compute a layer's attention with tokens of 8, 4 and 0 bits.

    Parameters
    ----------
    q : array ``[heads, n, d]``
    k, v : array ``[kv_heads, n, d]``
        Real numbers; quantized to 8-bit codes, with a scale a head (a token, if the configuration
        has ``v_gains``).
    preset : str, Config or SystemConfig
        The machine. A preset adapts to ``d`` and ``n``; a configuration is taken as it is.
    bits : int array ``[n]``, optional
        Precision of each token, 0, 4 or 8; all 8 by default.
    shares : (float, float, float)
        Shares of tokens that have 0, 4 and 8 bits in the next layer; the paper's on BERT.
    causal : bool
        A token sees itself and those before it.
    backend : str
        ``"golden"``: the integer model and the cycle model of the core, on NumPy alone. ``"rtl"``:
        the machine's Verilog on a simulated bus; its results are compared with the golden model's.
        The first call of a machine compiles it, a minute or two, and says so in the log
        ``dtqatten`` (``logging.basicConfig(level="INFO")`` shows it).

    Returns
    -------
    Attention

    Raises
    ------
    ValueError
        If an argument cannot be used; ``ConfigError`` if there is no such machine.
    AssertionError
        If the RTL gives anything else than the golden model.
    ModuleNotFoundError
        If ``backend`` is rtl and the extra ``sim`` is not installed.

    Examples
    --------
    >>> import dtqatten, numpy
    >>> q, k, v = numpy.random.default_rng(0).normal(size=(3, 2, 24, 32))
    >>> layer = dtqatten.attention(q, k, v, preset="tiny")
    >>> layer.output.shape, layer.ids.shape, int((layer.bits == 8).sum())
    ((2, 24, 32), (17,), 7)
    """
    for name, array in (("q", q), ("k", k), ("v", v)):
        if np.ndim(array) != 3:
            raise UsageError(
                f"{name} has shape {np.shape(array)}: give [heads, tokens, d]; attention_layers "
                "takes several layers"
            )
    one_q, one_k, one_v = (np.asarray(array)[None] for array in (q, k, v))
    return attention_layers(
        one_q,
        one_k,
        one_v,
        preset=preset,
        bits=bits,
        shares=shares,
        causal=causal,
        backend=backend,
    )[0]


def attention_layers(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    preset: Machine = "base",
    bits: ArrayLike | None = None,
    shares: Shares | Sequence[Shares] = PAPER_SHARES,
    causal: bool = False,
    backend: Backend = "golden",
    waves: Path | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> list[Attention]:
    """Compute layers of which each keeps tokens for the next one.

    Parameters
    ----------
    q : array ``[layers, heads, n, d]``
    k, v : array ``[layers, kv_heads, n, d]``
        Of all tokens in all layers, also of those that turn out to be pruned.
    preset, bits, causal, backend
        As of :func:`attention`; ``bits`` are of the first layer.
    shares : (float, float, float), or one a layer
        Shares of the ``n`` tokens that have 0, 4 and 8 bits in the layer after. A pruned token does
        not come back.
    waves : Path, optional
        rtl: FST file that gets every signal of the machine in every cycle.
    tell : callable
        Hears what is done.

    Returns
    -------
    list of Attention

    Raises
    ------
    ValueError, AssertionError, ModuleNotFoundError
        As of :func:`attention`.
    """
    cascade = Cascade(q, k, v, bits=bits, shares=shares, causal=causal)
    system = fitted(preset, d_head=cascade.d_head, tokens=cascade.n, heads=cascade.heads)
    if backend == "golden":
        if waves is not None:
            raise UsageError("waves are of the rtl: choose backend rtl, or leave them out")
        return list(_on_golden(system, cascade, tell))
    if backend == "rtl":
        from dtqatten.api.simulated import device_for

        tell("compiling the machine, once; it is kept for next time")
        with device_for(system, cascade, waves=waves) as device:
            return list(on_device(device, system, cascade, tell))
    raise UsageError(f"backend is {backend!r}: choose golden or rtl")


def _on_golden(
    system: SystemConfig, cascade: Cascade, tell: Callable[[str], object]
) -> Iterator[Attention]:
    """Yield each layer's results by the golden model, its cost by the cycle model."""
    before: Expected | None = None
    for number in range(cascade.layers):
        tell(f"layer {number} on the golden model")
        layer = cascade.next_layer(system.core)
        golden = before = expected_layer(system.core, layer, before)
        selected = np.repeat(np.array([4, 8], np.uint8), [layer.k0 - layer.k1, layer.k1])
        values = golden.outputs.output * golden.outputs.output_unit[:, None, None]
        cost = predicted_cost(system, layer, golden)
        yield _scattered(cascade, values, golden.outputs.importance, golden.ids, selected, cost)


def on_device(
    device: Device,
    system: SystemConfig,
    cascade: Cascade,
    tell: Callable[[str], object] = lambda _: None,
) -> Iterator[Attention]:
    """Yield each layer's results from a machine, compared with the golden model's.

    Parameters
    ----------
    device : Device
        On a machine of ``system``.
    system : SystemConfig
    cascade : Cascade
    tell : callable
        Hears what is done.

    Raises
    ------
    AssertionError
        If the machine gives anything else than the golden model.
    """
    before: Expected | None = None
    with Chain(device, cascade.layers) as chain:
        for number in range(cascade.layers):
            tell(f"layer {number} on the machine")
            layer = cascade.next_layer(system.core)
            chain.add(layer)
            device.set_register("control", Control.CLEAR_COUNTERS)
            result = chain.run()[-1]
            golden = before = expected_layer(system.core, layer, before)
            compare_results([layer], [result], [golden])
            assert result.ids is not None
            assert result.importance is not None
            cost = counted_cost(device)
            yield _scattered(
                cascade, result.values, result.importance, result.ids, result.bits, cost
            )


def _scattered(
    cascade: Cascade,
    values: FloatArray,
    importance: NDArray[np.integer],
    ids: NDArray[np.integer],
    bits: NDArray[np.integer],
    cost: Cost,
) -> Attention:
    """Return a layer's results by token of the text, and have the cascade go on.

    Parameters
    ----------
    cascade : Cascade
    values : float array ``[heads, tokens, d]``
        Outputs in the machine's order.
    importance : int array ``[tokens]``
    ids, bits : int array ``[k0]``
        Tokens that it keeps, places in that order, and their precisions.
    cost : Cost
    """
    computed = cascade.tokens
    output = np.zeros((cascade.heads, cascade.n, cascade.d_head))
    output[:, computed] = values
    received = np.zeros(cascade.n)
    received[computed] = importance / (1 << IMPORTANCE_FRACTION)
    precision = np.zeros(cascade.n, np.uint8)
    precision[computed] = cascade.precision
    cascade.keep(ids, bits)
    return Attention(output, precision, cascade.tokens, cascade.precision, received, cost)
