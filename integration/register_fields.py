"""Fields of the registers, as descriptions of registers name them."""

from collections.abc import Iterator
from dataclasses import dataclass

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.system import constants
from dtqatten.interface.described import DescribedFlag, DescribedInt
from dtqatten.interface.registers import REGISTERS, Access, Register

__all__ = ["Described", "RegisterField", "described_registers"]

#: Name of the only field of a register without named bits.
WHOLE = "value"


@dataclass(frozen=True)
class RegisterField:
    """Bits of a register.

    Parameters
    ----------
    name : str
    low, bits : int
        Lowest bit, and how many.
    reset : int
        Value after reset.
    meaning : str
    values : tuple of DescribedInt
        Those that have a name, if there are any.
    """

    name: str
    low: int
    bits: int
    reset: int
    meaning: str
    values: tuple[DescribedInt, ...] = ()


@dataclass(frozen=True)
class Described:
    """A register with its fields.

    Parameters
    ----------
    register : Register
    constant : bool
        It never changes.
    fields : tuple of RegisterField
        From the lowest bit on.
    """

    register: Register
    constant: bool
    fields: tuple[RegisterField, ...]

    @property
    def meaning(self) -> str:
        """What the register is, and how it is locked."""
        locked = "; writes while the machine is busy are ignored" if self.register.locked else ""
        return self.register.meaning + locked

    @property
    def volatile(self) -> bool:
        """Whether the machine changes it."""
        return not self.constant and self.register.access in (Access.READ, Access.CLEAR)


def described_registers(system: SystemConfig) -> Iterator[Described]:
    """Yield every register of a machine, constants with their values."""
    known = constants(system)
    for register in REGISTERS:
        reset = known.get(register.name, register.init)
        yield Described(register, register.name in known, tuple(_fields(register, reset)))


def _fields(register: Register, reset: int) -> Iterator[RegisterField]:
    names = register.shows or register.flags
    if names is not None and issubclass(names, DescribedFlag):
        for bit in names:
            low = bit.bit_length() - 1
            yield RegisterField(str(bit.name), low, 1, reset >> low & 1, bit.meaning)
        return
    values = () if names is None else tuple(names)
    yield RegisterField(WHOLE, 0, register.bits, reset, register.meaning, values)
