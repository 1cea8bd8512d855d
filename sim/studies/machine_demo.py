"""The demo: a sentence's layers through the whole simulated machine, compared with golden."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.api.attention import Attention, on_device
from dtqatten.api.cost import Cost
from dtqatten.api.layers import Cascade
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.device import Device
from dtqatten.golden.numerics.codes import FloatArray
from dtqatten.golden.numerics.reference import reference
from dtqatten.sim.machine.axi import SimulatedBus
from dtqatten.sim.machine.sampled import SampledBus

__all__ = ["DemoLayer", "cosine", "run_demo"]


@dataclass(frozen=True, eq=False)
class DemoLayer:
    """A layer that has run on the machine, equal to the golden model in every bit.

    Attributes
    ----------
    number : int
        In its model.
    result : Attention
    pruned_cosine : float
        Cosine of the outputs to float64 attention on the same tokens: what the codes cost.
    cosine : float
        To float64 attention on all tokens: what pruning costs, too.
    activity : (int array, float array)
        Edges of the samples, and each unit's share of busy cycles in them, see
        :meth:`~dtqatten.sim.machine.sampled.SampledBus.activity`.
    """

    number: int
    result: Attention
    pruned_cosine: float
    cosine: float
    activity: tuple[NDArray[np.int64], FloatArray]

    @property
    def counts(self) -> dict[int, int]:
        """Tokens by precision."""
        return {bits: int((self.result.precision == bits).sum()) for bits in (0, 4, 8)}

    @property
    def cost(self) -> Cost:
        """What the machine's counters say."""
        return self.result.cost


def cosine(one: FloatArray, other: FloatArray) -> float:
    """Return the cosine of two arrays as vectors; 0 if one is all 0."""
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float((one * other).sum()) / norms if norms else 0.0


def run_demo(
    device: Device, system: SystemConfig, cascade: Cascade, *, first_layer: int = 0
) -> list[DemoLayer]:
    """Run a cascade on a simulated machine, sampling its counters.

    Parameters
    ----------
    device : Device
        Of :func:`dtqatten.api.simulated.device_for`.
    system : SystemConfig
    cascade : Cascade
    first_layer : int
        Number of the first layer in its model.

    Raises
    ------
    AssertionError
        If an output, an id or an importance differs from the golden model's.
    """
    assert isinstance(device.bus, SimulatedBus)
    layers: list[DemoLayer] = []
    sampled = SampledBus(device.bus)
    watched = Device(sampled, device.inputs, device.outputs)
    for number, result in enumerate(on_device(watched, system, cascade)):
        computed = np.flatnonzero(result.precision)
        q, k, v = cascade.q[number], cascade.k[number], cascade.v[number]
        # Heads of K and V that query heads share, once for each.
        k, v = (np.repeat(x, cascade.heads // len(x), axis=0) for x in (k, v))
        q, output = q[:, computed], result.output[:, computed]
        layers.append(
            DemoLayer(
                first_layer + number,
                result,
                cosine(output, reference(q, k[:, computed], v[:, computed]).output),
                cosine(output, reference(q, k, v).output),
                sampled.activity(),
            )
        )
        sampled.forget()
    return layers
