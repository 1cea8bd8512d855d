"""Where a layer's projections are, in the families of models that are known."""

from torch import nn

__all__ = ["projections_of"]

# Where the projections of a layer are, relative to the attention module and to the layer.
_FAMILIES = (
    ("query", "key", "value", "output.dense"),
    ("q_lin", "k_lin", "v_lin", "out_lin"),
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("q_proj", "k_proj", "v_proj", "out_proj"),
)


def projections_of(layer: nn.Module) -> dict[str, nn.Linear]:
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
