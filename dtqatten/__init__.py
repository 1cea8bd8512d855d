"""DTQAtten: generator, golden model and simulation of a dynamic token quantization accelerator.

Everything below is imported when it is first used: :func:`attention` on the golden model needs
NumPy only, :func:`verilog` needs Amaranth, ``backend="rtl"`` the extra ``sim``, :func:`attach` the
extra ``trace``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dtqatten.configuration.core import PRESETS, Config, ConfigError, Schedule, TopKEngine
from dtqatten.configuration.system import SystemConfig

if TYPE_CHECKING:
    from dtqatten.api.attach import attach
    from dtqatten.api.attention import Attention, attention, attention_layers
    from dtqatten.api.estimate import Estimate, Shape, estimate
    from dtqatten.api.generate import verilog

__version__ = "0.1.0"
__all__ = [
    "PRESETS",
    "Attention",
    "Config",
    "ConfigError",
    "Estimate",
    "Schedule",
    "Shape",
    "SystemConfig",
    "TopKEngine",
    "__version__",
    "attach",
    "attention",
    "attention_layers",
    "estimate",
    "verilog",
]

_HOMES = {
    "attach": "attach",
    "Attention": "attention",
    "attention": "attention",
    "attention_layers": "attention",
    "Estimate": "estimate",
    "Shape": "estimate",
    "estimate": "estimate",
    "verilog": "generate",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dtqatten' has no attribute {name!r}")
    value = getattr(import_module(f"dtqatten.api.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
