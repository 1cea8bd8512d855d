"""``dtqatten board``: bitstreams, and a machine on a board or on a simulated one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import JsonOption, SharesOption, fail, needs, refuse, shares_of
from dtqatten.commands.paths import check_file, output_file, output_folder
from dtqatten.commands.run import CausalOption, SaveOption, arrays_of, figures, table_of
from dtqatten.files.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from dtqatten.boards.catalog import Board

__all__ = ["board_build", "board_list", "board_program", "board_run", "board_simulate"]

BoardOption = Annotated[str, typer.Option(help="One of those of `dtqatten board list`.")]
MemoryOption = Annotated[
    str, typer.Option(help="block: RAM of the FPGA; sdram: the board's, by LiteDRAM's controller.")
]

#: Where bitstreams go by default.
FOLDER = Path("build/board")

#: What cells are called in tables.
CELLS = {"luts": "LUTs", "ffs": "flip-flops", "brams": "block RAMs", "dsps": "multipliers"}


def chosen(name: str, memory: str = "block") -> "Board":
    """Return a board with a memory.

    Raises
    ------
    UsageError
        If there is none of that name, or it has no such memory.
    """
    from dtqatten.boards.catalog import Memory, board_of

    if memory not in tuple(Memory):
        raise UsageError(f"--memory is {memory!r}: choose one of {', '.join(Memory)}")
    return board_of(name, Memory(memory))


def board_list(as_json: JsonOption = False) -> None:
    """List the boards, and the machine that each carries."""
    from rich.table import Table

    boards = described()
    if as_json:
        print_json(boards)
    table = Table("board", "sold as", "FPGA", "machine", "MHz", "memory", "SDRAM", "baud")
    for one in boards:
        machine = "{rows} x {cols} x {depth}, d_head {d_head}, {n_max} tokens".format(**one)
        sdram = f"{one['sdram_bytes'] >> 20} MiB" if one["sdram_bytes"] else ""
        sizes = (f"{one['memory_bytes'] >> 10} KiB", sdram, str(one["baud"]))
        table.add_row(one["board"], one["sold_as"], one["fpga"], machine, f"{one['mhz']:g}", *sizes)
    show(table)


def described() -> list[dict[str, Any]]:
    """Return what is listed of each board."""
    from dtqatten.boards.catalog import BOARDS

    return [
        {
            "board": board.name,
            "sold_as": board.sold_as,
            "fpga": board.fpga,
            **{
                name: getattr(board.system.core, name)
                for name in ("rows", "cols", "depth", "d_head", "n_max", "heads")
            },
            "bus_bits": board.system.bus_bits,
            "mhz": board.clock_hz / 1e6,
            "memory_bytes": board.memory_bytes,
            "sdram_bytes": board.part.size if board.part else None,
            "baud": board.baud,
        }
        for board in BOARDS.values()
    ]


def board_build(
    board: BoardOption,
    seeds: Annotated[
        int, typer.Option(min=1, help="Placements at most until the clock rate is reached.")
    ] = 3,
    memory: MemoryOption = "block",
    output: Annotated[Path, output_folder("Folder for bitstream and figures.")] = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Build a bitstream with Yosys, nextpnr and a packer, all from PyPI. Allow an hour and more.

    What misses its clock is not built: exit status 1, and no bitstream.
    """
    made = chosen(board, memory)
    for name in (made.bitstream, f"{made.name}.json"):
        check_file(output / name)
    with needs(*extras("boards", made)):
        import amaranth_boards  # noqa: F401

        from dtqatten.boards.build import build

        with progress() as bar:
            task = bar.add_task("", total=None)
            result = build(
                made, output, seeds=seeds, step=lambda what: bar.update(task, description=what)
            )
    if as_json:
        print_json(result)
    show(built_table(result))
    say(f"{result['bitstream']}, figures in {output / made.name}.json")


def extras(what: str, board: "Board") -> tuple[str, ...]:
    """Return the optional packages that a board takes besides others."""
    return (what, "sdram") if board.memory == "sdram" else (what,)


def built_table(result: dict[str, Any]) -> "Table":
    """Return the table of what a bitstream needs and reaches."""
    from rich.table import Table

    table = Table(result["board"], "is", "of", "share")
    for cell, name in CELLS.items():
        count, there = result[cell], result["available"][cell]
        table.add_row(name, str(count), str(there), f"{count / there:.0%}" if there else "")
    rates = (f"{result['fmax_mhz']:.1f}", f"{result['needed_mhz']:.1f}")
    table.add_row("MHz reached, needed", *rates, f"{result['fmax_mhz'] / result['needed_mhz']:.0%}")
    return table


def board_program(
    board: BoardOption,
    bitstream: Annotated[
        Path | None, typer.Option(help="By default that of `dtqatten board build`.")
    ] = None,
    memory: MemoryOption = "block",
    flash: Annotated[
        bool, typer.Option("--flash", help="Write the flash: it stays after power-off.")
    ] = False,
) -> None:
    """Load a bitstream into a board with openFPGALoader."""
    from dtqatten.boards.program import program

    made = chosen(board, memory)
    program(made, bitstream or FOLDER / made.bitstream, flash=flash)
    say(f"{board} is programmed: dtqatten board run --port PORT --board {board}")


@contextmanager
def linked(port: str, link: Path | None) -> Iterator[str]:
    """Give a terminal a second name while it is there, and yield what to call it.

    Raises
    ------
    UsageError
        If something else has that name.
    """
    if link is None:
        yield port
        return
    if link.exists() and not link.is_symlink():
        raise UsageError(f"{link} is there, and no link: choose another --link")
    link.parent.mkdir(parents=True, exist_ok=True)
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.symlink_to(port)
    partial.replace(link)
    try:
        yield str(link)
    finally:
        with suppress(OSError):
            if os.readlink(link) == port:
                link.unlink()


def board_simulate(
    board: BoardOption,
    link: Annotated[
        Path | None, output_file("A link to the terminal, for a name known before.", "--link")
    ] = None,
    memory: MemoryOption = "block",
) -> None:
    """Simulate a board behind a pseudo-terminal, until Ctrl-C: for `dtqatten board run --port`."""
    made = chosen(board, memory)
    with needs(*extras("sim", made)):
        from dtqatten.boards.simulated import SimulatedBoard

        with SimulatedBoard(made) as simulated, linked(simulated.port, link) as port:
            show(f"{board} is simulated: dtqatten board run --port {port} --board {board}")
            simulated.serve()


def board_run(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="An .npz as of `dtqatten run`; without one, a random layer, or --sentence."
        ),
    ] = None,
    port: Annotated[
        str, typer.Option(help="Serial port, such as /dev/ttyUSB0, or that of a simulated board.")
    ] = "/dev/ttyUSB0",
    board: BoardOption = "ulx3s-85f",
    baud: Annotated[int | None, typer.Option(min=1, help="By default the board's.")] = None,
    patience: Annotated[
        float, typer.Option(min=0.01, help="Seconds without a byte that end an answer.")
    ] = 10.0,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for a layer.")] = 60.0,
    sentence: Annotated[
        bool, typer.Option("--sentence", help="The first layer of the sentence that comes along.")
    ] = False,
    heads: Annotated[int | None, typer.Option(min=1, help="Of the random layer; 2.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Of the random layer; 20.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the random layer; 0.")] = None,
    shares: SharesOption = None,
    causal: CausalOption = False,
    save: SaveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run layers on a board, and compare every bit of the results with the golden model."""
    from dataclasses import replace

    from dtqatten.driver.errors import DeviceError, NotIdleError, StaleChainError
    from dtqatten.files.whole import write_arrays
    from dtqatten.golden.traces.recording import Recording, example_recording

    made, portions = chosen(board), shares_of(shares)
    given = {"--heads": heads, "--tokens": tokens, "--seed": seed}
    if file is not None or sentence:
        taken = [name for name, value in given.items() if value is not None]
        if file is not None and sentence:
            taken.append("--sentence")
        if taken:
            raise refuse(f"{', '.join(taken)}: other layers have been given; leave it out")
    with needs("board"):
        from dtqatten.boards.host import device_on, random_recording, run_layers
        from dtqatten.driver.serial_bus import SerialBus

        if file is not None:
            recorded = Recording.load(file)
        elif sentence:
            whole = example_recording()
            recorded = replace(whole, q=whole.q[:1], k=whole.k[:1], v=whole.v[:1])
        else:
            recorded = random_recording(made, heads or 2, tokens or 20, seed or 0)
        try:
            with progress() as bar:
                task = bar.add_task(f"looking for {board} on {port}", total=None)
                bus = SerialBus(port, baud=baud or made.baud, patience=patience, timeout=timeout)
                try:
                    layers = run_layers(
                        device_on(bus, made),
                        made,
                        recorded,
                        shares=portions,
                        causal=causal,
                        tell=lambda what: bar.update(task, description=what),
                    )
                finally:
                    bus.close()
        except AssertionError as error:
            raise fail(f"the board differs from the golden model: {error}") from None
        except (DeviceError, NotIdleError, StaleChainError, TimeoutError) as error:
            raise fail("; ".join([str(error), *getattr(error, "__notes__", ())])) from None
    if save is not None:
        write_arrays(save, arrays_of(layers))
    found = figures(layers)
    if as_json:
        print_json(found)
    show(table_of(found), "every bit equal to the golden model; cycles of the machine")
    if save is not None:
        say(f"results: {save}")
