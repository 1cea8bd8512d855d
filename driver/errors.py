"""What can go wrong, as exceptions: one class for each error code."""

from dtqatten.registers import ErrorCode

__all__ = ["EXCEPTIONS", "AbortedError", "DeviceError", "LayoutError", "error_of"]


class DeviceError(RuntimeError):
    """The machine ended a chain with an error.

    Attributes
    ----------
    code : ErrorCode
    address : int
        What the error is about: an address that does not fit, or the descriptor's.
    layers_done : int
        Layers of the chain that are complete; the outputs of later ones are not to be used.
    """

    code = ErrorCode.NONE

    def __init__(self, address: int, layers_done: int) -> None:
        self.address, self.layers_done = address, layers_done
        super().__init__(
            f"{self.code.name} at {address:#x}, after {layers_done} complete layers: {self.__doc__}"
        )


class AbortedError(RuntimeError):
    """The chain was aborted."""


class LayoutError(ValueError):
    """Arrays that the machine, or its memory, cannot take; the message says why."""


_REASONS = {
    ErrorCode.VERSION: "the descriptor's magic or version is wrong: driver and machine differ",
    ErrorCode.FLAGS: "this build cannot do what the flags ask for; the register flags tells what",
    ErrorCode.NO_HEADS: "the layer has no heads",
    ErrorCode.TOO_MANY_HEADS: "the layer has more heads than this build; split it",
    ErrorCode.KV_HEADS: "kv_heads does not divide heads",
    ErrorCode.NO_TOKENS: "the layer has no tokens",
    ErrorCode.TOO_MANY_TOKENS: "the layer has more tokens than this build",
    ErrorCode.TOKENS: "tokens and stored are not what the layer before leaves",
    ErrorCode.K0: "k0 is 0 or more than the tokens",
    ErrorCode.K1: "k1 is more than k0",
    ErrorCode.ALIGNMENT: "the address is not a multiple of 64",
    ErrorCode.READ_WINDOW: "a read from there leaves the read window",
    ErrorCode.WRITE_WINDOW: "a write there leaves the write window",
    ErrorCode.CHAIN: "next must lie above the descriptor, so that no chain loops",
    ErrorCode.READ_RESPONSE: "the memory refused a read",
    ErrorCode.WRITE_RESPONSE: "the memory refused a write",
}


def _exception(code: ErrorCode, reason: str) -> type[DeviceError]:
    name = "".join(part.capitalize() for part in code.name.split("_")) + "Error"
    return type(name, (DeviceError,), {"code": code, "__doc__": reason})


#: Exception of each error code, such as ``EXCEPTIONS[ErrorCode.K0]``, named ``K0Error``.
EXCEPTIONS: dict[ErrorCode, type[DeviceError]] = {
    code: _exception(code, reason) for code, reason in _REASONS.items()
}


def error_of(code: int, address: int, layers_done: int) -> DeviceError:
    """Return the exception of an error code."""
    return EXCEPTIONS[ErrorCode(code)](address, layers_done)
