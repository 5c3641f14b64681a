"""Which rows: named, all, or the product of a grid; all checked before the first one starts."""

import argparse
import re
import shutil
import sys
from ast import literal_eval
from collections.abc import Callable, Iterable
from dataclasses import fields
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

from src import bundle, competition, core
from src.core import UserError, Variant, find_variants, make_variant, nearest, require_once
from src.sweep.folder import is_busy, lock
from src.sweep.work import Row

NAMED = ("arch", "resize", "size", "split", "fold", "seed", "desc")  # what a name is derived from
GB = 1e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what and where: `sweep`, `plan` and `race` take them all."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows of params.yaml")
    parser.add_argument("--all", action="store_true", help="every row of `variants`")
    parser.add_argument("--grid", nargs="+", default=[], metavar="FIELD=VALUE,…",
                        help="all combinations of these values (sizes=64,96;96 has two)")
    parser.add_argument("--skip-impossible", action="store_true",
                        help="leave out combinations of the grid that cannot be")
    parser.add_argument("--write", action="store_true", help="write the grid's rows to params.yaml")
    parser.add_argument("--data", default="", help="the competition's folder")
    parser.add_argument("--gpus", default="", help="cards as nvidia-smi counts them: 1,3")
    parser.add_argument("--jobs-per-gpu", type=int, default=1, help="rows at once on a card (1)")
    parser.add_argument("--cores", type=int, default=1, help="of a row, without a GPU (1)")
    parser.add_argument("--address", default="", help="of a Ray cluster; auto: the one running")
    parser.add_argument("--mixed-versions", action="store_true",
                        help="use nodes with other versions, too; the card says which")
    parser.set_defaults(repeats=1, until=-inf, end=inf)  # of waiting for a card, of starting rows


def chosen(args: argparse.Namespace) -> list[Variant]:
    """The rows that `args` name, those of the grid last, each once.

    Prints what the grid stands for. UserError if none is named or a combination is impossible.
    """
    if args.all and args.names:
        raise UserError("--all are the rows named, too; leave one of both out")
    names = list(core.load_params()["variants"]) if args.all else args.names
    if not names and not args.grid:
        raise UserError("name a row of params.yaml, --all, or a --grid")
    variants = {variant.name: variant for variant in find_variants(names)}
    new = _expanded(args.grid, variants, args.skip_impossible) if args.grid else {}
    return list((variants | new).values())


def _expanded(words: list[str], known: dict[str, Variant], skip: bool) -> dict[str, Variant]:
    """Name → Variant of the combinations that can be and are not `known`; prints all of them."""
    combinations, new, impossible, lines = _combinations(words), {}, 0, []
    rows, finished = core.load_variants(), bundle.read_cards(core.models_dir())[0]
    for combination in combinations:
        try:
            variant = _possible(combination)
        except UserError as error:
            impossible += 1
            facts = " ".join(f"{name}={value}" for name, value in combination.items())
            lines.append(f"  {facts}: impossible: {error}")
            continue
        name = variant.name
        if (rows | new).get(name, variant) != variant:
            raise UserError(f"two recipes are named {name}; give the grid another desc")
        same = [other for other, card in finished.items() if name not in finished
                and card["variant"] | {"desc": variant.desc} == variant.recipe]
        lines.append(f"  {name}" + ": there already, trained once" * (name in known | new)
                     + "".join(f": trained again; the same is finished as {n}" for n in same[:1]))
        new |= {} if name in known else {name: variant}
    print(f"grid of {len(combinations)}: {impossible} impossible, {len(new)} rows")
    print("\n".join(lines), flush=True)
    if impossible and not skip:
        raise UserError(f"{impossible} of {len(combinations)} combinations are impossible",
                        "leave them out with --skip-impossible")
    return new


def _combinations(words: list[str]) -> list[dict[str, Any]]:
    """`a=1,2 b=x` → [{a: 1, b: x}, {a: 2, b: x}]; what varies and is in no name goes into desc.

    A desc stands for resize and size in a name: beside it those that vary go into it, too.
    """
    pairs = [word.partition("=") for word in words]
    require_once(name for name, *_ in pairs)
    known = [field.name for field in fields(Variant)]
    for name, _, values in pairs:
        if name not in known:
            raise UserError(f"--grid: unknown parameter {name!r}", nearest(name, known))
        if not values:
            raise UserError(f"--grid: {name} has no values", f"write {name}=one,other")
    grid = {name: [_value(name, text) for text in values.split(";" if name == "sizes" else ",")]
            for name, _, values in pairs}
    combinations = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    varies = [name for name in grid if len(grid[name]) > 1]
    unnamed = [name for name in varies if name not in NAMED]
    hidden = [name for name in ("resize", "size") if name in varies or "desc" not in grid]
    if unnamed or (hidden and "desc" in grid):
        for given in combinations:
            recipe = core.load_params()["train"] | given
            parts = [given["desc"]] if "desc" in given else []
            parts += [*(recipe[name] for name in hidden), *(f"{n}{given[n]}" for n in unnamed)]
            given["desc"] = re.sub(r"[^\w+-]", "_", "_".join(map(str, parts)))
    return combinations


def _value(name: str, text: str) -> Any:
    """A number if the parameter `name` may be one and `text` is one, else the text."""
    try:
        return text if Variant.__annotations__[name] is str else literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _possible(combination: dict[str, Any]) -> Variant:
    from src.vision import backbone  # needs torch

    variant = make_variant(**combination)
    backbone.check_arch(variant)
    return variant


def rows_for(variants: list[Variant], data: Path, models: Path) -> list[Row]:
    """Those of `variants` that `bundle.is_done` says are not finished; refused like `is_done`."""
    fingerprint = competition.train_fingerprint(data)
    return [Row(variant, data, models) for variant in variants
            if not bundle.is_done(variant, models, fingerprint)]


def checked(args: argparse.Namespace) -> list[Variant]:
    """The rows that `args` name; unless all can start, a line for each complaint and UserError."""
    complaints: list[str] = []
    variants = _try(complaints, "", chosen, args) or []
    complaints += check(variants, args.data, core.models_dir(), args.repeats)
    if len(complaints) == 1:
        raise UserError(complaints[0])
    if complaints:
        print("\n".join(complaints), file=sys.stderr)
        raise UserError(f"nothing was started; lines above that say why: {len(complaints)}")
    if args.write:
        known = core.load_variants()
        core.add_rows({v.name: core.row_of(v) for v in variants if v.name not in known})
    return variants


def check(
    variants: list[Variant], data: str | Path, models: Path, repeats: int = 1
) -> list[str]:
    """Everything that would stop one of the rows: a line each; [] when all can start.

    Data and images, folders, another recipe of the same name, arch, corrections, weights, and room
    for all bundles, of every repeat.
    """
    complaints, folder, open_rows = [], None, []
    for place in (models, core.runs_dir(), core.sweep_dir()):
        _try(complaints, "", core.require_writable, place)
    if not complaints:
        with lock("any"):
            if not is_busy("any"):
                print(f"{core.sweep_dir()} has no locks, so start one sweep at a time", flush=True)
    if folder := _try(complaints, "", competition.find, data):
        _try(complaints, "", _check_images, folder)
    fingerprint = _try(complaints, "", competition.train_fingerprint, folder) if folder else None
    for variant in variants:
        done = (fingerprint and
                _try(complaints, f"{variant.name}: ", bundle.is_done, variant, models, fingerprint))
        if not done:
            open_rows.append(variant)
            _check_row(complaints, variant, folder)
    if not complaints and open_rows:
        _try(complaints, "", _check_room, open_rows * repeats, models)
    return list(dict.fromkeys(complaints))


def _try(complaints: list[str], whose: str, function: Callable[..., Any], *words: Any) -> Any:
    """What `function` returns; None, and a complaint, if it refuses."""
    try:
        return function(*words)
    except UserError as error:
        complaints.append(f"{whose}{error}")
        return None


def _check_row(complaints: list[str], variant: Variant, folder: Path | None) -> None:
    from src.vision import backbone, weights  # both need torch

    whose, before = f"{variant.name}: ", len(complaints)
    _try(complaints, whose, backbone.check_arch, variant)
    if folder:
        _try(complaints, whose, competition.read_corrections, variant, folder)
    if len(complaints) == before:
        _try(complaints, whose, weights.find, variant)


def _check_images(folder: Path) -> None:
    tests = competition.test_paths(folder).values()
    competition.require_images([*competition.train_paths(folder), *tests])


def _check_room(variants: Iterable[Variant], models: Path) -> None:
    """Refuse a disk that cannot take all bundles: as large as those of the same arch so far."""
    from src.vision import backbone  # needs torch

    known = {card["variant"]["arch"]: card["bytes"]
             for card in bundle.read_cards(models)[0].values()}
    sizes = {arch: known.get(arch) or 4 * backbone.parameters(arch)  # float32
             for arch in {variant.arch for variant in variants}}
    needed, free = sum(sizes[v.arch] for v in variants), shutil.disk_usage(models).free
    if needed > free:
        sizes = f"{needed / GB:.1f} GB, {free / GB:.1f} GB are free"
        raise UserError(f"{models}: the bundles need {sizes}",
                        "free some space, or choose another folder with PADDY_WORK")
