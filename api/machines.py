"""A machine for given arrays: a preset or a configuration, with room for them."""

from dataclasses import replace

from dtqatten.configuration.changes import configured
from dtqatten.configuration.core import Config, ConfigError
from dtqatten.configuration.system import SystemConfig

__all__ = ["Machine", "fitted", "system_of"]

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


def fitted(machine: Machine, *, d_head: int, tokens: int, heads: int = 1) -> SystemConfig:
    """Return a machine whose core has ``d_head`` channels and room for tokens and heads.

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
    system = system_of(machine)
    core = system.core
    if isinstance(machine, str):
        most = {"n_max": max(core.n_max, tokens), "heads": max(core.heads, heads)}
        return replace(system, core=core.replace(d_head=d_head, **most))
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
    return system
