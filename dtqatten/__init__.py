"""DTQAtten: generator, golden model and simulation of a dynamic token quantization accelerator."""

from dtqatten.configuration.core import PRESETS, Config, ConfigError, Schedule

__version__ = "0.1.0"
__all__ = ["PRESETS", "Config", "ConfigError", "Schedule", "__version__"]
