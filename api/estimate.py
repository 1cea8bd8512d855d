"""What attention takes on a machine: cycles, time, bytes, area and energy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dtqatten.api.machines import Machine, fitted
from dtqatten.files.errors import UsageError
from dtqatten.files.notices import waiting
from dtqatten.golden.numerics.select import PAPER_SHARES
from dtqatten.model.clock import Clock, clock_of, measured_of
from dtqatten.model.core import run_core
from dtqatten.model.energy import DRAM_PJ_PER_BIT, dram_bytes
from dtqatten.model.measured import Measured
from dtqatten.model.shapes import Shape, shape_of
from dtqatten.model.workload import Workload, policy_workloads

if TYPE_CHECKING:
    from dtqatten.algorithm.policy import Policy

__all__ = ["Estimate", "Quantity", "Shape", "estimate"]

Origin = Literal["measured", "modelled", "assumed", "not measured"]


SMALL = (("", 1.0), ("m", 1e-3), ("u", 1e-6), ("n", 1e-9))
LARGE = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
#: Symbols of units that take prefixes, and these, the largest first.
PREFIXES = {"s": ("s", SMALL), "J": ("J", SMALL), "bytes": ("B", LARGE)}


@dataclass(frozen=True)
class Quantity:
    """A number, and where it comes from.

    Attributes
    ----------
    value : float or None
        None where nothing is known.
    unit : str
    origin : str
        ``measured`` on a netlist; ``modelled`` from measured parts or by the cycle model that the
        RTL equals; ``assumed``; ``not measured``.
    says : str
        How it was made.
    """

    value: float | None
    unit: str
    origin: Origin
    says: str

    def __str__(self) -> str:
        return f"{self.text} ({self.origin}: {self.says})"

    @property
    def text(self) -> str:
        """The number as people read it: a count in full, seconds, joules and bytes in 4 digits."""
        if self.value is None:
            return "-"
        if not self.unit:
            return f"{self.value:,.0f}"
        symbol, prefixes = PREFIXES.get(self.unit, (self.unit, (("", 1.0),)))
        prefix, factor = next((one for one in prefixes if self.value >= one[1]), prefixes[-1])
        return f"{self.value / factor:.4g} {prefix}{symbol}"


@dataclass(frozen=True)
class Estimate:
    """What the attention of a model takes for one sequence.

    Attributes
    ----------
    cycles, seconds, clock : Quantity
        Of all layers, one after the other, on one core; at ``clock``.
    bytes : Quantity
        Q, K and V of the tokens kept, and outputs of 8 bits.
    mm2 : Quantity
        Area of the core.
    joules : Quantity
        Of the core and of DRAM.
    layers : list of int
        Cycles of each layer.
    """

    cycles: Quantity
    seconds: Quantity
    clock: Quantity
    bytes: Quantity
    mm2: Quantity
    joules: Quantity
    layers: list[int]

    @property
    def quantities(self) -> dict[str, Quantity]:
        """All of them by name."""
        names = ("cycles", "clock", "seconds", "bytes", "mm2", "joules")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return "\n".join(f"{name:8}{one}" for name, one in self.quantities.items())


def estimate(
    model_or_shape: Any,
    preset: Machine = "base",
    *,
    tokens: int = 384,
    shares: tuple[float, float, float] = PAPER_SHARES,
    policy: "Policy | None" = None,
    clock_mhz: float | None = None,
) -> Estimate:
    """Estimate what the attention of a model takes for one sequence.

    Parameters
    ----------
    model_or_shape : str, Path, Shape, or a transformers model or configuration
        A name such as ``"bert-base"`` (:data:`dtqatten.model.shapes.SHAPES`), a folder with a
        Hugging Face ``config.json``, or the model itself.
    preset : str, Config or SystemConfig
        The machine; a preset adapts to the channels and tokens.
    tokens : int
        Tokens of the sequence.
    shares : (float, float, float)
        Shares of tokens with 0, 4 and 8 bits in every layer; the paper's averages on BERT.
    policy : Policy, optional
        Shares of each layer, in place of ``shares``.
    clock_mhz : float, optional
        Clock rate; by default that of :func:`dtqatten.model.clock.clock_of`.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If the model is none, the policy has another number of layers or does what the machine does
        not, or a number is out of range; ``ConfigError`` if there is no such machine.

    Examples
    --------
    >>> import dtqatten
    >>> found = dtqatten.estimate("minilm", "tiny", tokens=32)
    >>> found.cycles.origin, found.mm2.origin
    ('modelled', 'not measured')
    """
    shape = shape_of(model_or_shape)
    if clock_mhz is not None and clock_mhz <= 0:
        raise UsageError(f"clock_mhz is {clock_mhz}: give a rate above 0")
    core = fitted(preset, d_head=shape.d_head, tokens=tokens, heads=shape.heads).core
    workload = Workload(tokens=tokens, d_head=shape.d_head, shares=shares)
    workloads = [workload] * shape.layers
    if policy is not None:
        if len(policy.layers) != shape.layers:
            raise UsageError(
                f"the policy is of {len(policy.layers)} layers, the model has {shape.layers}"
            )
        workloads = policy_workloads(policy, workload)
    known = measured_of(core)
    what = f"{core.rows} x {core.cols} x {core.depth} multipliers on {tokens} tokens"
    with waiting(f"cycle model: {what}; small arrays take more cycles, and up to a minute"):
        runs = {one: run_core(core, one) for one in dict.fromkeys(workloads)}
    layers = [shape.heads * runs[one].head_cycles for one in workloads]
    cycles = sum(layers)

    clock = clock_of(core) if clock_mhz is None else Clock(clock_mhz, False, "as asked for")
    moved = sum(_layer_bytes(one, shape) for one in workloads)
    return Estimate(
        cycles=Quantity(cycles, "", "modelled", "the core's cycle model, which the RTL equals"),
        seconds=Quantity(cycles / clock.mhz / 1e6, "s", "modelled", "cycles at that clock"),
        clock=Quantity(clock.mhz, "MHz", "measured" if clock.measured else "assumed", clock.says),
        bytes=Quantity(moved, "bytes", "modelled", "Q, K, V of the tokens kept, 8-bit outputs"),
        mm2=_area(known),
        joules=_energy(known, shape, (runs[one] for one in workloads), moved),
        layers=layers,
    )


def _layer_bytes(workload: Workload, shape: Shape) -> float:
    """Return bytes of a layer: heads of K and V that several query heads share move once."""
    return dram_bytes(workload, kv_heads=shape.shared / shape.heads) * shape.heads


def _area(known: Measured | None) -> Quantity:
    if known is None or known.mm2 is None:
        return Quantity(None, "mm2", "not measured", "run `dtqatten synth` on this machine")
    how = f"{known.command}; {known.target}"
    if known.before:
        return Quantity(known.mm2, "mm2", "modelled", f"{how}; measured {known.before}")
    return Quantity(known.mm2, "mm2", "measured", how)


def _energy(known: Measured | None, shape: Shape, runs: Iterable[Any], moved: float) -> Quantity:
    """Return the energy of all layers.

    Parameters
    ----------
    known : Measured or None
    shape : Shape
    runs : iterable of CoreRun
        Of a head of each layer.
    moved : float
        Bytes of DRAM.
    """
    if known is None or known.power is None:
        return Quantity(None, "J", "not measured", "power of this machine is not known")
    core = 0.0
    for run in runs:
        busy = {unit: share * run.head_cycles for unit, share in run.busy.items()}
        core += shape.heads * sum(known.power.nanojoules(run.head_cycles, busy).values())
    dram = moved * 8 * DRAM_PJ_PER_BIT / 1000
    return Quantity(
        (core + dram) * 1e-9,
        "J",
        "modelled",
        f"core {core * 1e-3:.4g} uJ from power measured on its netlist, at 1.1 V; DRAM "
        f"{dram * 1e-3:.4g} uJ at {DRAM_PJ_PER_BIT:g} pJ a bit",
    )
