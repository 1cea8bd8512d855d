"""A decode step of one layer on a machine and its bus: bytes, cycles and work, in closed form.

A step is bound by the bus: it reads K and V of all keys for one query of each head. V comes after
the choice where a row block multiplies a share of its groups (``chosen_values``), and low planes of
K after the verdict where a layer is progressive, so that a step is a few events for each head of K.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.interface.descriptor import BIAS_BYTES
from dtqatten.model.shapes import Shape

__all__ = ["LATENCY", "DecodeStep", "step_bytes", "step_cycles", "step_units"]

#: Cycles from a request to its first word.
LATENCY = 60
#: Cycles of a head's weights on their way, besides the beats of its softmax; of its verdict.
PIPELINE = 40
VERDICT = 40
#: Cycles by which high planes that are scored again come later than by a word a cycle.
REPLAY = 80
#: Cycles from the last step of P x V to the acknowledgement of its outputs, less a latency.
END = 100


@dataclass(frozen=True, kw_only=True)
class DecodeStep:
    """Attention of one token of a layer on a cache.

    Parameters
    ----------
    shape : Shape
        Of the model.
    four_bit, eight_bit : int
        Keys of each class.
    value_share : int
        Groups of keys whose V is multiplied, in 1/256; of V as much is read.
    flat : float, optional
        Of a progressive layer: share of the heads of K whose low planes are read. K of all keys is
        in 4 bits first, whatever class V has.
    gains : bool
        Each key has gains of K and V, of a byte each, and each query one.
    biased : bool
        Each key has a bias of two bytes a query head.
    planes : int
        Nibbles of a weight.
    """

    shape: Shape
    four_bit: int
    eight_bit: int
    value_share: int = SHARE_ALL
    flat: float | None = None
    gains: bool = False
    biased: bool = False
    planes: int = 2

    @property
    def keys(self) -> int:
        """All keys."""
        return self.four_bit + self.eight_bit

    @property
    def group(self) -> int:
        """Query heads of a head of K and V."""
        return self.shape.heads // self.shape.shared


@dataclass(frozen=True)
class _Bytes:
    """Bytes of a head of K and V, in the order in which they are read."""

    queries: float
    k_first: float
    k_low: float
    v: float

    @property
    def total(self) -> float:
        return self.queries + self.k_first + self.k_low + self.v


def _head_bytes(step: DecodeStep) -> _Bytes:
    plane = step.shape.d_head / 2
    codes = plane * (step.four_bit + 2 * step.eight_bit)
    with_keys = step.keys * (2 * step.gains + BIAS_BYTES * step.group * step.biased)
    low = 0.0 if step.flat is None else step.flat * plane * step.keys
    return _Bytes(
        queries=step.group * (2 * plane + step.gains),
        k_first=(codes if step.flat is None else plane * step.keys) + with_keys,
        k_low=low,
        v=codes * step.value_share / SHARE_ALL,
    )


def step_bytes(step: DecodeStep) -> float:
    """Return the bytes that a step reads: Q in 8 bits, K, V, gains and biases.

    Without descriptors, lists, and what bursts of whole words read besides.
    """
    return step.shape.shared * _head_bytes(step).total


def step_units(system: SystemConfig, step: DecodeStep) -> Mapping[str, float]:
    """Return the cycles in which each unit works for a head of K and V.

    Parameters
    ----------
    system : SystemConfig
    step : DecodeStep
    """
    core = system.core.replace(d_head=step.shape.d_head, planes=step.planes)
    blocks = math.ceil(step.group / core.rows)
    tiles, wide_tiles = (math.ceil(n / core.cols) for n in (step.keys, step.eight_bit))
    passes: float = tiles + wide_tiles
    if step.flat is not None:
        # Once in the trial; again, in 8 bits where a row is flat.
        passes = tiles * (2 + step.flat)
    groups, wide = (math.ceil(n / core.group) for n in (step.keys, step.eight_bit))
    kept = math.ceil(groups * step.value_share / SHARE_ALL) / groups
    values = kept * step.planes * (groups + wide) * core.channel_passes
    beats = step.group * tiles
    return {
        # Queries have 8 bits: two planes.
        "score_array": blocks * max(2 * passes * core.steps, tiles * core.drain_interval),
        "softmax": beats,
        "module_b": beats,
        "value_array": blocks * values,
        "normalizer": step.group * core.channel_passes * math.ceil(core.cols / core.output_lanes),
    }


def step_cycles(system: SystemConfig, step: DecodeStep) -> float:
    """Return the cycles of a step, from its first request to its last acknowledgement.

    Less a latency, as :func:`dtqatten.sim.studies.decode_bench.measure_step` counts. K is read a
    head ahead: K of heads 0 and 1, V of head 0, K of head 2 and so on. A head is scored when its
    keys are there; V that comes after a choice is asked for when its weights are known; P x V
    follows. A progressive head keeps its keys' memory until its weights are known, and is scored
    twice, so that the next head's keys wait. Streams are as wide as the bus.

    Parameters
    ----------
    system : SystemConfig
    step : DecodeStep
    """
    read = _progressive if step.flat is not None else _read_ahead
    return read(system, step) + END


def _read_ahead(system: SystemConfig, step: DecodeStep) -> float:
    """Return when the last P x V ends."""
    heads, part, word = step.shape.shared, _head_bytes(step), system.bus_bytes
    units = step_units(system, step)
    k, v = part.k_first / word, part.v / word
    bus = LATENCY + part.queries * heads / word + k
    keys, scored, multiplied = [bus], [0.0, 0.0], 0.0
    for head in range(heads):
        if head + 1 < heads:
            # Two banks of keys: one is scored, one is filled.
            bus = max(bus, scored[head]) + k
            keys.append(bus)
        scored.append(max(keys[head], scored[-1]) + units["score_array"])
        weighed = scored[-1] + 2 * units["softmax"] + PIPELINE
        asked = weighed + LATENCY if step.value_share < SHARE_ALL else 0.0
        bus = max(bus, asked) + v
        multiplied = max(bus, weighed, multiplied) + units["value_array"]
    return multiplied


def _progressive(system: SystemConfig, step: DecodeStep) -> float:
    """Return when the last P x V ends, where heads are tried first."""
    heads, part, word = step.shape.shared, _head_bytes(step), system.bus_bytes
    units, flat = step_units(system, step), step.flat or 0.0
    k, low, v = (size / word for size in (part.k_first, part.k_low, part.v))
    chooses = step.value_share < SHARE_ALL
    trial = units["score_array"] / (2 + flat)
    ahead = min(system.buffer_bursts * system.burst_beats, k)
    bus = LATENCY + part.queries * heads / word
    weighed = multiplied = waiting = 0.0
    for head in range(heads):
        # The read buffers hold the first keys when the memory of keys is free.
        bus = max(bus, weighed + LATENCY) + k - (ahead if head else 0.0)
        keys = bus
        # V of the head before, once chosen; else V of this one.
        bus += waiting if chooses else v
        if chooses and head:
            multiplied = max(bus, multiplied) + units["value_array"]
        verdict = keys + trial + units["softmax"] + VERDICT
        again = max(verdict, keys + k + REPLAY)
        if flat:
            bus = max(bus, verdict + LATENCY) + low
            again += flat * max(0.0, bus - again)
        scored = again + units["score_array"] - trial
        weighed = scored + 2 * units["softmax"] + PIPELINE
        if not chooses:
            multiplied = max(bus, weighed, multiplied) + units["value_array"]
        waiting = v
    if chooses:
        bus = max(bus, weighed + LATENCY) + v
        multiplied = max(bus, multiplied) + units["value_array"]
    return multiplied
