"""Area of a design's modules by what they hold, with coefficients fitted to mapped designs."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from dtqatten.hw.base.memory_shape import Memory
from dtqatten.synth.estimate.contents import Contents
from dtqatten.synth.macros import Macro
from dtqatten.synth.sram import SECOND_PORT, Model, smallest
from dtqatten.synth.tools import InputError

__all__ = ["FILE", "AreaModel", "Part", "fitted", "parts_of", "read_model"]

#: Data file of this package, written by ``tools/fit_area.py``.
FILE = "fitted.json"


@dataclass(frozen=True)
class Part:
    """A block of a design with all modules inside.

    Attributes
    ----------
    sizes : Counter
        Of the memories that are no macros, too.
    memories : Counter
        Macro models.
    """

    sizes: Counter[str]
    memories: Counter[Model]


@dataclass(frozen=True)
class AreaModel:
    """Area of cells as a sum over sizes of what they are made of, and of memories as macros.

    Attributes
    ----------
    um2 : mapping of str to float
        Of one of each of :data:`~dtqatten.synth.estimate.contents.KINDS`.
    flip_flop_um2 : float
        Of the library: smaller memories than a macro become flip-flops.
    macros : sequence of Macro
        May be empty: all memories are flip-flops.
    outlines : mapping of str to (float, float)
        Width and height of each macro, um.
    mw_per_um2 : float
        Power of logic at 1 GHz and the activity that ``dtqatten synth`` assumes.
    pj_per_product : float
        Energy of a PE over its multipliers, in a cycle.
    error : mapping of str to float
        Of designs that it is not fitted to, predicted over mapped area of cells and macros, less 1.
    source : str
        Libraries, tools and command.
    """

    um2: Mapping[str, float]
    flip_flop_um2: float
    macros: Sequence[Macro]
    outlines: Mapping[str, tuple[float, float]]
    mw_per_um2: float
    pj_per_product: float
    error: Mapping[str, float]
    source: str

    @cached_property
    def _models(self) -> dict[Memory, Model | None]:
        return {}

    def model_of(self, memory: Memory) -> Model | None:
        """Return the macros that a memory is made of, None if flip-flops are smaller."""
        if memory not in self._models:
            found = smallest(self.macros, memory) if self.macros else None
            if found and found.area >= memory.words * memory.width * self.flip_flop_um2:
                found = None
            self._models[memory] = found
        return self._models[memory]

    def logic_um2(self, part: Part) -> float:
        """Return the area of a part's cells."""
        return sum(self.um2.get(kind, 0.0) * size for kind, size in part.sizes.items())

    def sram_um2(self, part: Part) -> float:
        """Return the area of a part's macros."""
        return sum(model.area * count for model, count in part.memories.items())

    def die_um2(self, part: Part, *, density: float, halo: float) -> float:
        """Return the die: cells at a density, macros with their halos.

        As in :func:`~dtqatten.synth.place.floorplan.outline_of`.
        """
        total = self.logic_um2(part) / density
        for model, count in part.memories.items():
            width, height = self.outlines[model.macro.name]
            width *= SECOND_PORT if model.memory.ports == 2 else 1.0
            each = (width + 2 * halo) * (height + 2 * halo)
            total += count * model.across * model.deep * each
        return total

    def synthesized(self, part: Part) -> dict[str, Any]:
        """Return a part in the form of a result of ``dtqatten synth``, for its energy."""
        return {
            "uniform_mw": self.mw_per_um2 * self.logic_um2(part),
            "memories": {
                model.memory.cell: {
                    "count": count,
                    "ports": model.memory.ports,
                    "access_pj": model.access_pj,
                }
                for model, count in part.memories.items()
            },
        }

    def text(self) -> str:
        """Return the text of the data file."""
        return json.dumps(asdict(self), indent=2) + "\n"


def fitted() -> AreaModel:
    """Return the model that comes with the package."""
    return read_model(resources.files(__package__) / FILE)


def read_model(path: Traversable) -> AreaModel:
    """Read a model of :meth:`AreaModel.text`.

    Raises
    ------
    InputError
        If it is none; the message names the file.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        macros = [
            Macro(**macro | {name: tuple(macro[name]) for name in ("load", "slew")})
            for macro in found.pop("macros")
        ]
        outlines = {name: tuple(size) for name, size in found.pop("outlines").items()}
        return AreaModel(macros=macros, outlines=outlines, **found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no area model: {error!r}") from None


def parts_of(
    contents: Mapping[str, Contents], top: str, model: AreaModel, blocks: Mapping[str, str]
) -> dict[str, Part]:
    """Return a design's blocks, and what is in none of them as ``""``.

    Parameters
    ----------
    contents : mapping
        Of :func:`~dtqatten.synth.estimate.contents.contents_of`.
    top : str
    model : AreaModel
        Says which memories are macros.
    blocks : mapping of str to str
        Names of the blocks by their kind of module.
    """
    parts: dict[str, Part] = {}
    for block, kind, count in visited(contents, top, blocks, "", 1):
        inside = contents[kind]
        models = {memory: model.model_of(memory) for memory in inside.memories}
        found = {memory: one for memory, one in models.items() if one}
        part = parts.setdefault(block, Part(Counter(), Counter()))
        for name, size in inside.with_flip_flops(found.keys()).items():
            part.sizes[name] += count * size
        for memory, one in found.items():
            part.memories[one] += count * inside.memories[memory]
    return parts


def visited(
    contents: Mapping[str, Contents], kind: str, blocks: Mapping[str, str], block: str, count: int
) -> Iterator[tuple[str, str, int]]:
    """Yield each kind of module below one, the block that it is in, and how many there are."""
    block = blocks.get(kind, block)
    yield block, kind, count
    for inner, times in contents[kind].modules.items():
        yield from visited(contents, inner, blocks, block, count * times)
