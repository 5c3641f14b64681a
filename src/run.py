"""Rows of params.yaml through notebooks/paddy_train.ipynb, one kernel each, skipping what is done.

    python -m src.run vit_small_squish_224 convnext_small_pad_224
    python -m src.run --all
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.translators import PythonTranslator

from src import bundle, competition, core
from src.core import ROOT, UserError, Variant, command, find_variants

TEMPLATE = "paddy_train"


def run_notebook(variant: Variant, data: Path, models: Path, overwrite: bool = False) -> None:
    """Execute the training notebook for `variant`; the executed copy is in runs/."""
    template = ROOT / "notebooks" / f"{TEMPLATE}.ipynb"
    output = core.runs_dir() / f"{variant.name}.ipynb"
    core.require_writable(output.parent)
    places = {"data": str(data), "models": str(models), "overwrite": overwrite}
    # Its name is always given: else the notebook would search for its own file.
    parameters = {**changes(template, variant.recipe | places), "notebook": TEMPLATE}
    # Nobody can act on its notices: that notebooks are not encrypted, that it was interrupted.
    quiet = ["--IPKernelApp.log_level=CRITICAL"]
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            template, output, parameters, progress_bar=False, cwd=ROOT, extra_arguments=quiet
        )
    except PapermillExecutionError as error:
        if error.ename == "UserError":
            raise UserError(error.evalue) from error
        reason = " ".join(error.evalue.split())
        raise UserError(f"{error.ename}: {reason}; see {output}") from error
    except DeadKernelError as error:
        raise UserError("its kernel was killed, often for memory: try a larger accum") from error
    except OSError as error:  # papermill's own, of the executed copy
        remedy = "free some space, or choose another folder with PADDY_WORK"
        raise UserError(f"cannot write {output}: {error.strerror or error}", remedy) from error


def changes(template: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the `given` parameters that the cell in `template` does not have already.

    The executed notebook then shows in papermill's own cell what was special. Compared as text, as
    papermill writes values: nothing of the notebook is evaluated here.
    """
    cell = papermill.inspect_notebook(str(template))
    return {name: value for name, value in given.items()
            if name not in cell or cell[name]["default"] != PythonTranslator.translate(value)}


def train(variants: list[Variant], data: str, overwrite: bool) -> list[str]:
    """Train `variants`, continuing after a failure; return the lines of what failed."""
    folder, models, failed = competition.find(data), core.models_dir(), []
    fingerprint = competition.train_fingerprint(folder)
    for variant in variants:
        name = variant.name
        try:
            if bundle.is_done(variant, models, fingerprint, overwrite):
                print(f"{name}: finished already")
                continue
            print(f"{name}: training", flush=True)
            run_notebook(variant, folder, models, overwrite)
            print(f"{name}: {bundle.holdout_line(bundle.read_card(models, name))}", flush=True)
        except UserError as error:
            failed.append(f"{name}: {error}")
            print(f"{name}: failed: {error}", flush=True)
    return failed


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows of params.yaml")
    parser.add_argument("--all", action="store_true", help="every row of `variants`")
    parser.add_argument("--data", default="", help="the competition's folder")
    parser.add_argument("--overwrite", action="store_true", help="train again what is finished")
    args = parser.parse_args()
    names = core.load_params()["variants"] if args.all else args.names
    if not names:
        rows = ", ".join(core.load_variants())
        raise UserError(f"name a row of params.yaml, or --all; rows are: {rows}")
    variants = find_variants(list(names))
    if failed := train(variants, args.data, args.overwrite):
        raise UserError(f"{len(failed)} of {len(variants)} variants failed; first: {failed[0]}")


if __name__ == "__main__":
    command(main)
