"""The Tang Mega 138K Pro Dock for Amaranth releases that do not know its series."""

from amaranth_boards.tang_mega_138k_pro_dock import TangMega138kProDockPlatform

__all__ = ["TangMega138kPlatform"]


class TangMega138kPlatform(TangMega138kProDockPlatform):
    """Pins as ``amaranth_boards`` has them, whose part Amaranth 0.5.10 takes for no Gowin part."""

    def parse_part(self) -> None:
        """Take the part as it is."""

    @property
    def _chipdb_device(self) -> str:
        return "GW5AST-138C"
