"""An area model fitted to mapped cores, and its error on others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dtqatten.synth.estimate.area_model import AreaModel, parts_of
from dtqatten.synth.estimate.contents import KINDS, Contents
from dtqatten.synth.macros import Macro

__all__ = ["Sample", "fit"]

#: A module below this many um2 matters as little as one of this size.
SMALL = 50.0


@dataclass(frozen=True)
class Sample:
    """A mapped design.

    Attributes
    ----------
    result : mapping
        Of ``dtqatten synth``.
    contents : mapping
        What its modules hold before mapping.
    """

    result: Mapping[str, Any]
    contents: Mapping[str, Contents]

    @property
    def top(self) -> str:
        """Top module."""
        return next(iter(self.result["modules"]))

    @property
    def logic_um2(self) -> float:
        """Area of the cells, macros left out."""
        return float(self.result["area_um2"] - self.result["sram_um2"])


def fit(
    samples: Sequence[Sample],
    held_out: Sequence[Sample],
    macros: Sequence[Macro],
    outlines: Mapping[str, tuple[float, float]],
    *,
    flip_flop_um2: float,
    pj_per_product: float,
    source: str,
) -> AreaModel:
    """Fit an area model to samples by non-negative least squares.

    A kind of module is an equation: its area, by how many there are, against what it holds. Its
    weight is the share of its area in the design over the root of that share, as if errors
    were independent.

    Parameters
    ----------
    samples, held_out : sequence of Sample
        What it is fitted to, and what tells its error.
    macros, outlines, flip_flop_um2, pj_per_product, source
        See :class:`~dtqatten.synth.estimate.area_model.AreaModel`.
    """
    from scipy.optimize import nnls

    empty = AreaModel({}, flip_flop_um2, macros, outlines, 0.0, pj_per_product, {}, source)
    rows, areas = [], []
    for sample in samples:
        for kind, mapped in sample.result["modules"].items():
            contents = sample.contents[kind]
            found = [memory for memory in contents.memories if empty.model_of(memory)]
            sizes = contents.with_flip_flops(found)
            weight = 1 / np.sqrt(max(mapped["um2"], SMALL) * sample.logic_um2)
            rows.append([weight * mapped["count"] * sizes[name] for name in KINDS])
            areas.append(weight * mapped["um2"])
    um2, _ = nnls(np.array(rows), np.array(areas))
    power = sum(sample.result["uniform_mw"] for sample in samples)
    model = replace(
        empty,
        um2={name: round(float(each), 4) for name, each in zip(KINDS, um2, strict=True)},
        mw_per_um2=power / sum(sample.logic_um2 for sample in samples),
    )
    return replace(model, error={one.result["design"]: error(model, one) for one in held_out})


def error(model: AreaModel, sample: Sample) -> float:
    """Return the predicted area of a design, over what it is mapped to, less 1."""
    (part,) = parts_of(sample.contents, sample.top, model, {}).values()
    predicted = model.logic_um2(part) + model.sram_um2(part)
    return float(predicted / sample.result["area_um2"] - 1)
