"""A machine for given arrays: a preset or a configuration, with room for them."""

from dtqatten.configuration.core import Config, ConfigError, configured
from dtqatten.configuration.system import SystemConfig

__all__ = ["Machine", "core_of", "system_of"]

#: A preset's name, a core, or a core on a bus.
Machine = str | Config | SystemConfig


def system_of(machine: Machine) -> SystemConfig:
    """Return the system that a preset, a core or a system means; a bus of 128 bits by default.

    Raises
    ------
    ConfigError
        If there is no such preset.
    TypeError
        If it is none of these.
    """
    if isinstance(machine, SystemConfig):
        return machine
    if isinstance(machine, str):
        return SystemConfig(core=configured(machine))
    if isinstance(machine, Config):
        return SystemConfig(core=machine)
    raise TypeError(f"{machine!r}: give a preset's name, a Config or a SystemConfig")


def core_of(machine: Machine, *, d_head: int, tokens: int, heads: int = 1) -> Config:
    """Return a machine's core with ``d_head`` channels and room for tokens and heads.

    A preset adapts; a configuration that somebody gives is taken as it is.

    Parameters
    ----------
    machine : str, Config or SystemConfig
    d_head : int
        Channels of a head.
    tokens, heads : int
        Tokens of a sequence, query heads of a layer.

    Raises
    ------
    ConfigError
        If the machine cannot have or has not so many, with the limit and the way out.
    """
    core = system_of(machine).core
    if isinstance(machine, str):
        return core.replace(
            d_head=d_head, n_max=max(core.n_max, tokens), heads=max(core.heads, heads)
        )
    for name, value, limit, fits in (
        ("d_head", d_head, core.d_head, d_head == core.d_head),
        ("tokens", tokens, core.n_max, tokens <= core.n_max),
        ("heads", heads, core.heads, heads <= core.heads),
    ):
        if not fits:
            raise ConfigError(
                f"{name} is {value}, but the configuration has {limit}: change it with "
                "config.replace, or give a preset's name, which adapts"
            )
    return core
