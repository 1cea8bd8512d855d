"""The reference pages of the Python packages; mkdocstrings fills them from the docstrings."""

import dtqatten

__all__ = ["PAGES", "page"]

#: Modules on each page, below a sentence of introduction.
PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "dtqatten": (
        "What `import dtqatten` offers. [From Python](../../tutorials/python.md) shows it at work.",
        tuple(f"dtqatten.{name}" for name in dtqatten.__all__ if name != "__version__"),
    ),
    "configuration": (
        "Sizes and options of a machine; golden model, gateware and simulation take the same.",
        ("dtqatten.configuration.core", "dtqatten.configuration.system"),
    ),
    "driver": (
        "Chains of layers from NumPy arrays, on any bus. "
        "[The machine on a bus](../../system.md#driver) has an example.",
        tuple(f"dtqatten.driver.{name}" for name in ("device", "chain", "layers", "bus", "errors")),
    ),
    "hw": (
        "Gateware: components of [Amaranth](https://amaranth-lang.org) and their Verilog.",
        tuple(f"dtqatten.hw.{name}" for name in ("core", "system", "blocks", "base.export")),
    ),
    "numerics": (
        "What the machine computes, bit for bit. [Numbers](../../numerics.md) has the formulas.",
        tuple(
            f"dtqatten.golden.numerics.{name}"
            for name in (
                *("attention", "codes", "softmax", "products", "output", "importance"),
                *("select", "order", "reference"),
            )
        ),
    ),
    "algorithm": (
        "Token quantization inside Hugging Face models. [Algorithm](../../algorithm.md) explains.",
        (
            "dtqatten.algorithm.runtime",
            "dtqatten.algorithm.policy",
            "dtqatten.algorithm.layer_policy",
        ),
    ),
}


def page(name: str) -> str:
    """Return the page of a package."""
    introduction, modules = PAGES[name]
    title = "dtqatten" if name == "dtqatten" else modules[0].rsplit(".", 1)[0]
    if name == "hw":
        title = "dtqatten.hw"
    return f"# {title}\n\n{introduction}\n\n" + "\n\n".join(f"::: {one}" for one in modules) + "\n"
