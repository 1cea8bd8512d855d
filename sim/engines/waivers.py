"""Rules of Verilator's lint that generated Verilog breaks, and why that is harmless."""

__all__ = ["WAIVERS"]

#: By rule.
WAIVERS = {
    "WIDTHEXPAND": "Yosys leaves operands narrower than the expression; Verilog extends them",
    "WIDTHTRUNC": "Yosys leaves the cut of a wide result to the assignment's target",
    "CMPCONST": "the smallest sizes leave a comparison with one outcome",
    "UNUSEDSIGNAL": "carries that a wrapping counter drops, outputs that only a monitor reads",
    "DECLFILENAME": "all modules ship in one file, named after the top",
    "UNOPTFLAT": "bits of a vector that depend on others of it; Amaranth refuses loops of a bit",
    "SYMRSVDWORD": "words of C++ matter to ports of the top alone, which have prefixes",
    "PROCASSINIT": "registers have both an initial value, for FPGAs, and a reset",
}
