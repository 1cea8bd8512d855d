"""Exceptions: one class for each error code."""

from dtqatten.files.errors import ToolError, UsageError
from dtqatten.interface.registers import ErrorCode

__all__ = [
    "EXCEPTIONS",
    "AbortedError",
    "DeviceError",
    "InUseError",
    "LayoutError",
    "LinkCorruptError",
    "LinkError",
    "LinkLostError",
    "LinkTimeoutError",
    "NotIdleError",
    "PortError",
    "RefusedAccessError",
    "StaleChainError",
    "error_of",
]


class DeviceError(RuntimeError):
    """The machine ended a chain with an error.

    Attributes
    ----------
    code : ErrorCode
    address : int
        Address of the error: one that does not fit, or the descriptor's.
    layers_done : int
        Layers of the chain that are complete; the outputs of later ones are not to be used.
    """

    code = ErrorCode.NONE

    def __init__(self, address: int, layers_done: int) -> None:
        self.address, self.layers_done = address, layers_done
        super().__init__(
            f"{self.code.name} at {address:#x}, after {layers_done} complete layers: "
            f"{self.code.meaning}"
        )


class AbortedError(RuntimeError):
    """The chain was aborted."""


class NotIdleError(RuntimeError):
    """The machine stays busy after an abort; nothing runs on it before it has been reset."""


class StaleChainError(RuntimeError):
    """The machine does not run this chain, or no longer; the message says why."""


class InUseError(RuntimeError):
    """Another call is using the machine: of another thread, or further up this one's stack."""


class LayoutError(UsageError):
    """Arrays that the machine, or its memory, cannot take; the message says why."""


class PortError(UsageError):
    """The port cannot be opened, or has nothing on it that speaks the protocol."""


class LinkError(ToolError):
    """The line to the machine has failed; the next access begins anew on it.

    What the last access should have done may have been done, in part, elsewhere or not at all. A
    run writes all that it needs, so the next one is right; what a cache has in memory is not.
    """


class LinkLostError(LinkError):
    """The other end, or the adapter, is gone."""


class LinkTimeoutError(LinkError):
    """The other end does not answer in time."""


class LinkCorruptError(LinkError):
    """What came is not what was sent, in one direction or the other."""


class RefusedAccessError(LinkError):
    """The board has nothing at an address, or nothing that is written; everything else is well."""


def _exception(code: ErrorCode) -> type[DeviceError]:
    name = "".join(part.capitalize() for part in code.name.split("_")) + "Error"
    return type(name, (DeviceError,), {"code": code, "__doc__": code.meaning})


#: Exception of each error code, such as ``EXCEPTIONS[ErrorCode.K0]``, named ``K0Error``.
EXCEPTIONS: dict[ErrorCode, type[DeviceError]] = {
    code: _exception(code) for code in ErrorCode if code is not ErrorCode.NONE
}


def error_of(code: int, address: int, layers_done: int) -> DeviceError:
    """Return the exception of an error code."""
    return EXCEPTIONS[ErrorCode(code)](address, layers_done)
