"""Chains of layers for the C driver: what its structs hold; as C source, with the results."""

from collections.abc import Iterator, Mapping, Sequence

from dtqatten.driver.blocks import Block
from dtqatten.driver.expected import Expected
from dtqatten.driver.heads import computed_heads
from dtqatten.files.errors import UsageError
from dtqatten.integration.chain_vectors import regions
from dtqatten.interface.descriptor import FIELDS
from dtqatten.interface.regions import region_sizes

__all__ = ["c_chain", "given"]

#: Descriptor fields that the caller of the C driver sets.
COUNTS = [
    field.name
    for field in FIELDS
    if field.bits < 64 and field.name not in ("version", "magic", "ready")
]


def given(layers: Sequence[Block]) -> Iterator[tuple[dict[str, int], dict[str, bytes]]]:
    """Yield each layer's descriptor fields, addresses left out, and what the machine reads.

    Parameters
    ----------
    layers : sequence of Layer or Call
        A chain; without caches, and without segments.
    """
    for layer, before in zip(layers, [None, *layers], strict=False):
        kept = before.k0 if layer.chained and before is not None else 0
        yield layer.fields(kept, computed_heads(layer, before)), layer.contents()


def c_chain(layers: Sequence[Block], wanted: Sequence[Expected]) -> str:
    """Return a chain as C: ``layers``, ``expected`` results, and ``LAYERS``, how many there are.

    Parameters
    ----------
    layers : sequence of Layer or Call
        Their heads have rows of their own.
    wanted : sequence of Expected
        What the golden model makes of them.

    Raises
    ------
    UsageError
        If heads have their rows together: results are then in another order.
    """
    if any(layer.group > 1 for layer in layers):
        raise UsageError("a chain in C has no grouped heads: leave `grouped` out")
    arrays, structs, results = [], [], []
    for number, ((fields, contents), layer, golden) in enumerate(
        zip(given(layers), layers, wanted, strict=True)
    ):
        arrays += [_array(f"layer{number}_{name}", data) for name, data in contents.items()]
        counts = ", ".join(f".{name} = {fields[name]}u" for name in COUNTS if fields.get(name))
        tensors = ", ".join(
            f"[DTQATTEN_{name.upper()}] = layer{number}_{name}" for name in contents
        )
        structs.append(f"    {{.descriptor = {{{counts}}},\n     .tensors = {{{tensors}}}}},")
        found = _written(layer, fields, golden)
        arrays += [_array(f"expected{number}_{name}", data) for name, data in found.items()]
        results += [
            f"    {{{number}, DTQATTEN_{name.upper()}, expected{number}_{name}, {len(data)}u}},"
            for name, data in found.items()
        ]
    return "\n".join(
        [
            '#include "dtqatten_driver.h"',
            '#include "expected.h"',
            "",
            *arrays,
            f"const uint32_t layer_count = {len(structs)}u;",
            f"struct dtqatten_layer layers[{len(structs)}] = {{",
            *structs,
            "};",
            "",
            f"const size_t expected_count = {len(results)}u;",
            f"const struct expected expected[{len(results)}] = {{",
            *results,
            "};",
            "",
        ]
    )


def _written(layer: Block, fields: Mapping[str, int], golden: Expected) -> dict[str, bytes]:
    """Return what a layer writes, those regions that its flags ask for."""
    asked = {name for name, _, written in region_sizes(fields, layer.q.codes.shape[2]) if written}
    return {name: data for name, data in regions(golden, layer.options).items() if name in asked}


def _array(name: str, data: bytes) -> str:
    lines = [", ".join(map(str, data[at : at + 24])) for at in range(0, len(data), 24)]
    body = ",\n    ".join(lines)
    return f"static const unsigned char {name}[{len(data)}] = {{\n    {body}}};\n"
