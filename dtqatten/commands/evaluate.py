"""``dtqatten eval``: what a policy does to a model's metric, and what it saves."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.algorithm.packaged import find_policy
from dtqatten.algorithm.policy import Policy
from dtqatten.commands.algorithm import (
    BY_ARRAYS,
    BosOption,
    DataOption,
    LimitOption,
    ModelOption,
    Stage,
    StageOption,
    TaskOption,
    opened,
    plain_score,
    progress_bar,
    staged,
)
from dtqatten.commands.console import print_json, say, show
from dtqatten.commands.options import (
    ConfigOption,
    JsonOption,
    PolicyOption,
    StartOption,
    machine,
    needs,
    reject_unused,
)
from dtqatten.commands.paths import output_file, output_folder
from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_text
from dtqatten.golden.numerics.local_values import Arrays

__all__ = ["evaluate"]

TEXT = (
    "The quick brown fox, which nobody had seen for a year, jumped over the lazy dog and vanished."
)


def evaluate(
    model: ModelOption,
    task: TaskOption,
    policy: PolicyOption = None,
    mode: Annotated[
        str, typer.Option(help="fake-quant, integer (bit-exact, slow) or float (tokens only).")
    ] = "fake-quant",
    part: Annotated[
        str, typer.Option(help="train, on which policies are searched, dev (chosen) or test.")
    ] = "dev",
    output: Annotated[Path | None, output_file("JSON file to write the result to.")] = None,
    pictures: Annotated[
        Path | None, output_folder("Folder to draw the pictures into.", "--pictures")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="With --pictures: sentence of the picture of tokens.")
    ] = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="With --pictures: run the noise study as well.")
    ] = False,
    stage: StageOption = Stage.PREFILL,
    preset: StartOption = None,
    file: ConfigOption = None,
    data: DataOption = None,
    limit: LimitOption = None,
    bos: BosOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print metric before and after, shares of 0, 4 and 8 bits, bit operations and bytes.

    Without --policy every token has 8 bits. --preset and --config name the machine whose row blocks
    choose V, by group of tokens, where a policy prunes it, and are tried in 4 bits where it has
    progressive layers; and whose tiles of keys have exponents where it has these.

    With --stage decode bytes are those of a step for each token of a text, of which a machine with
    chosen_values reads V of the chosen groups alone.
    """
    if pictures is None:
        reject_unused({"--noise": noise, "--text": text}, "for --pictures only")
    with needs("algorithm"):
        from dtqatten.algorithm.block.operands import BASE_ARRAYS
        from dtqatten.algorithm.evaluate import evaluate as score
        from dtqatten.algorithm.report.drawing import draw
        from dtqatten.algorithm.session.blocks import Mode
        from dtqatten.algorithm.tasks.task import PARTS

        if part not in PARTS:
            raise UsageError(f"{part!r} is no part of a task: choose one of {', '.join(PARTS)}")
        if mode not in tuple(Mode):
            raise UsageError(f"{mode!r} is not a valid mode: choose one of {', '.join(Mode)}")
        chosen_mode = Mode(mode)
        given = None if policy is None else find_policy(policy)
        made = None if preset is None and file is None else machine(preset, file).config
        if given is None or not given.by_arrays:
            reject_unused({"--preset": preset, "--config": file}, f"for {BY_ARRAYS} only")
        chosen, loaded = opened(model, task, data, limit, bos)
        applied = Policy.flat(loaded.layers) if given is None else given
        arrays = staged(BASE_ARRAYS if made is None else Arrays.of(made), stage, loaded)
        reference = plain_score(chosen, loaded, part)
        with progress_bar(f"{model} on {task}, {mode}") as tell:
            found = score(
                loaded,
                chosen,
                applied,
                chosen_mode,
                part=part,
                reference=reference,
                progress=tell,
                arrays=arrays,
            )
        worse = chosen.worse_by(found.metric, found.float_metric)
        each, plain = (1e3 * s / found.sequences for s in (found.seconds, found.float_seconds))
        show(
            f"{found.metric_name:<22} {found.metric:.4f}",
            f"{'of the plain model':<22} {found.float_metric:.4f}",
            f"{'loss':<22} {100 * worse:+.2f} %",
            f"{'0 / 4 / 8 bit':<22} {100 * found.share_0:.1f} / {100 * found.share_4:.1f} / "
            f"{100 * found.share_8:.1f} % of the tokens",
            f"{'bit operations':<22} {found.bops_ratio:.4f} of 8-bit attention",
            f"{'beside the products':<22} {found.overhead_ratio:.4f} of 8-bit attention",
            f"{'bytes fetched':<22} {found.bytes_ratio:.4f} of 8-bit attention",
            f"{'time a sequence':<22} {each:.1f} ms, plain {plain:.1f} ms",
        )
        if applied.progressive:
            flat = found.flat if stage is Stage.DECODE else found.again
            what = "low planes of K read" if stage is Stage.DECODE else "rows computed again"
            show(f"{what:<22} {100 * flat:.1f} %")
        if as_json:
            print_json(found.row())
        if output is not None:
            write_text(output, json.dumps(found.row(), indent=2) + "\n")
            say(output)
        if pictures is not None:
            for path in draw(loaded, chosen, applied, found, pictures, text or TEXT, noise=noise):
                say(path)
