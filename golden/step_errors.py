"""Error of each step of the integer block alone, against real arithmetic on the same integers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.attention import Inputs, Options, Outputs, attention
from dtqatten.golden.numerics.codes import (
    GAIN_ONE,
    Codes,
    FloatArray,
    Granularity,
    apply_gain,
    dequantize,
    quantize,
)
from dtqatten.golden.numerics.narrowing import DIVISOR_FRACTION
from dtqatten.golden.numerics.output import OUTPUT_FRACTION, requantize

__all__ = ["StepError", "step_errors"]

Operands = tuple[Codes, Codes, Codes]


@dataclass(frozen=True)
class StepError:
    """Error of one integer step, given the step's integer inputs, against real arithmetic.

    Parameters
    ----------
    step, unit : str
        What is measured, in what unit.
    largest, rms : float
        Largest magnitude and root mean square.
    """

    step: str
    unit: str
    largest: float
    rms: float


def step_errors(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    granularity: Granularity | str = Granularity.HEAD,
    options: Options | None = None,
) -> dict[str, StepError]:
    """Measure each integer step of the block on its own.

    Each step is computed again in float64 from the integers that entered it, so that an error shows
    in the step that makes it: ``quantize``, ``gained score``, ``exponent`` (the middle of the step
    that ``t`` stands for, where ``e16`` is not 0), ``exponential`` (against the real exponent, so
    with the rounding of ``t``), ``probability``, ``weight``, ``divisor``, ``division`` and
    ``requantize``.

    Parameters
    ----------
    q, k, v : float array ``[heads, n_q, d]``, ``[heads, n_k, d]``
        Operands; every query sees every key.
    granularity : Granularity
        Scales per head or token.
    options : Options, optional
        Choices of the block.
    """
    chosen = Options() if options is None else options
    codes = quantize(q, granularity), quantize(k, granularity), quantize(v, granularity)
    out = attention(Inputs(*codes), chosen)
    found = [
        _quantization([np.asarray(x, dtype=np.float64) for x in (q, k, v)], codes),
        *_probabilities(codes, chosen, out),
        *_weights(codes[2], chosen, out),
        *_outputs(codes, chosen, out),
    ]
    return {e.step: e for e in found}


def _error(step: str, unit: str, got: ArrayLike, exact: ArrayLike) -> StepError:
    """Measure one step's error.

    Parameters
    ----------
    step, unit : str
        As of :class:`StepError`.
    got, exact : array
        Result of the step and of real arithmetic, of shapes that broadcast, in that unit. Without
        elements the error is 0.
    """
    difference = np.asarray(got, dtype=np.float64) - np.asarray(exact, dtype=np.float64)
    if not difference.size:
        return StepError(step, unit, 0.0, 0.0)
    return StepError(
        step, unit, float(np.abs(difference).max()), float(np.sqrt(np.mean(difference**2)))
    )


def _quantization(tensors: Sequence[FloatArray], codes: Operands) -> StepError:
    """Error of the codes of Q, K and V."""
    steps = [c.token_scale[..., None] for c in codes]
    got = [(dequantize(c) / step).ravel() for c, step in zip(codes, steps, strict=True)]
    exact = [(x / step).ravel() for x, step in zip(tensors, steps, strict=True)]
    return _error("quantize", "codes", np.concatenate(got), np.concatenate(exact))


def _probabilities(codes: Operands, options: Options, out: Outputs) -> Iterator[StepError]:
    """Errors from scores to probabilities."""
    cq, ck, _ = codes
    real_gained = out.scores * (1.0 if ck.gains is None else ck.gains[..., None, :] / GAIN_ONE)
    gained = out.scores if ck.gains is None else apply_gain(out.scores, ck.gains[..., None, :])
    yield _error("gained score", "score units", gained, real_gained)

    # From here on the logits are real ones: sum(q*k) with the scales of both tokens.
    d = cq.codes.shape[-1]
    scale = d**-0.5 if options.softmax_scale is None else options.softmax_scale
    logits = (
        out.scores
        * cq.token_scale[..., :, None]
        * ck.token_scale[..., None, :]
        * scale
        * np.log2(np.e)
    )
    distance = logits.max(-1, keepdims=True) - logits
    factor = softmax.multiplier(cq.unit * ck.unit, d, options.softmax_scale)
    rows = softmax.row_multiplier(factor, cq.gains, cq.codes.shape[-2])
    t, maximum = softmax.exponent(
        gained, rows, factor.shift, np.ones(gained.shape[-2:], dtype=bool)
    )
    # The row maximum is exact by definition; beyond t = 512 every exponent has the same effect.
    rounded = (gained < maximum[..., None]) & (t < 512)
    yield _error("exponent", "1/32 octave", (t + 0.5)[rounded], (distance * 32)[rounded])
    yield _error("exponential", "2^-16", out.e16, (softmax.E16_MAX + 1) * np.exp2(-distance))
    total = out.e16.sum(-1, keepdims=True)
    exact = out.e16 / total * (softmax.E16_MAX + 1)
    yield _error("probability", "2^-16", out.probability, exact)


def _weights(cv: Codes, options: Options, out: Outputs) -> Iterator[StepError]:
    """Errors of the weights of P x V and of the rows' divisors."""
    limit = options.weight_code.top
    gain = 1.0 if cv.gains is None else cv.gains[..., None, :] / GAIN_ONE
    exact_weight = out.e16 * gain * _lead(out) * limit / (softmax.E16_MAX + 1)
    one = 1 << options.weight_code.fraction
    yield _error("weight", "codes", out.weights.p / one, exact_weight / one)
    if cv.gains is None:
        exact_divisor = out.weights.p.sum(-1) / one
    else:
        exact_divisor = out.e16.sum(-1) * limit / (softmax.E16_MAX + 1)
    yield _error("divisor", "codes", out.weights.divisor / 2**DIVISOR_FRACTION, exact_divisor)


def _outputs(codes: Operands, options: Options, out: Outputs) -> Iterator[StepError]:
    """Errors of the division, and of the output's narrowing to codes."""
    divisor = out.weights.divisor[..., None] / 2**DIVISOR_FRACTION * _lead(out)
    wide = attention(Inputs(*codes), _wide(options)).output
    yield _error("division", "2^-8 codes", wide, out.sums / divisor * 2**OUTPUT_FRACTION)
    narrow = requantize(wide, options.output_shift)
    unclipped = np.abs(narrow.astype(np.int64)) < 119
    exact = wide / 2.0 ** (OUTPUT_FRACTION - options.output_shift)
    yield _error("requantize", "codes", narrow[unclipped], exact[unclipped])


def _lead(out: Outputs) -> FloatArray:
    """What the leads of the rows multiply weights by."""
    lead: FloatArray = np.exp2(out.weights.lead)[..., None]
    return lead


def _wide(options: Options) -> Options:
    """Return the same choices with the 16-bit output."""
    return replace(options, output_bits=16, output_shift=0)
