"""What training time is best spent on: the same recipe again, or unlike members.

    python benchmarks/bench_members.py DATA WORK [--size 96] [RECIPE ...]

Reads what bench_recipes.py has finished in WORK of the recipes (`default`), for every architecture
and both seeds: probabilities out of fold, so no image is predicted by a model trained on it. An
ensemble is the mean of its members' TTA probabilities, joined by image. Each is compared with the
best single member, which is known only afterwards.
"""

import argparse
import sys
from argparse import Namespace
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd
from bench_recipes import WAYS, finished

from src import competition, evidence
from src.core import UserError, command
from src.ensemble.search import choose, search
from src.vision.backbone import family

ARCHS = "mobilenetv2_100", "tf_efficientnet_lite0", "tf_efficientnet_lite2"
SEEDS = 42, 43

FIELDS = "architecture", "recipe", "seed"
LONGER = "longer"  # the default with twice as many epochs

Member = tuple[str, str, int]  # FIELDS
# What an ensemble's members differ in → what they have in common.
GROUPS: dict[str, Callable[[Member], tuple]] = {
    "seeds": lambda member: member[:2],
    "resizes": lambda member: (member[0], f"seed {member[2]}"),
    "architectures": lambda member: (member[1], f"seed {member[2]}"),
    "architectures and resizes": lambda member: (f"seed {member[2]}",),
}


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a competition's folder")
    parser.add_argument("work", type=Path, help="what bench_recipes.py finished")
    parser.add_argument("recipes", nargs="*", default=["default"], help="of recipes.yaml (default)")
    parser.add_argument("--size", default="96")
    args = parser.parse_intermixed_args()
    labels = competition.train_table(competition.find(str(args.data))).label
    if not (tables := finished_members(args)):
        raise UserError(f"{args.work} has nothing of these recipes; run bench_recipes.py first")
    print_ways(tables, labels)
    print_auto(tables, labels)
    print_alike(tables, labels)


def finished_members(args: Namespace) -> dict[Member, pd.DataFrame]:
    """Member → probabilities by way, in `attrs` the seconds of a processor."""
    members = [(arch, recipe, seed) for arch in ARCHS for recipe in args.recipes for seed in SEEDS]
    files = {(arch, recipe, seed): finished(Namespace(work=args.work, size=args.size, arch=arch),
                                            {"name": recipe, "seed": seed})
             for arch, recipe, seed in members}
    return {member: pd.read_pickle(file) for member, file in files.items() if file.exists()}


def ways(tables: dict[Member, pd.DataFrame], labels: pd.Series) -> dict[str, list[Member]]:
    """What the time goes into → its members, the best single one first."""
    unlike = [member for member in tables if member[1] != LONGER]
    best = min(unlike, key=lambda member: wrong(tables, [member], labels))
    found = {f"the best one: {', '.join(map(str, best))}": [best]}
    found |= {f"one, longer: {arch}, seed {seed}": [(arch, recipe, seed)]
              for arch, recipe, seed in tables if recipe == LONGER}
    for what, key in GROUPS.items():
        for same in dict.fromkeys(map(key, unlike)):
            members = [member for member in unlike if key(member) == same]
            if len(members) > 1 and members not in found.values():
                found[f"{what}: {', '.join(map(str, same))}"] = members
    return found | {"all": unlike}


def probs_of(tables: dict[Member, pd.DataFrame], members: list[Member]) -> pd.DataFrame:
    """The equal mean of the members' TTA probabilities."""
    return evidence.average([tables[member][WAYS[0]] for member in members])


def wrong(tables: dict[Member, pd.DataFrame], members: list[Member], labels: pd.Series) -> int:
    """How many images the equal mean of the members has wrong."""
    return evidence.wrong_of(probs_of(tables, members), labels)[0]


def print_ways(tables: dict[Member, pd.DataFrame], labels: pd.Series) -> None:
    """What each way of spending the time costs and brings."""
    found = ways(tables, labels)
    first = probs_of(tables, next(iter(found.values())))
    print("| the time goes into | processor time | members, wrong | mean, wrong "
          "| more right than the best |\n|---|---:|---|---:|---|")
    for way, members in found.items():
        seconds = sum(tables[member].attrs["seconds"] for member in members)
        alone = ", ".join(str(wrong(tables, [member], labels)) for member in members)
        gain = evidence.gain_phrase(evidence.compare(probs_of(tables, members), first, labels))
        print(f"| {way} | {seconds:,.0f} s | {alone} | {wrong(tables, members, labels)} | {gain} |")


def print_auto(tables: dict[Member, pd.DataFrame], labels: pd.Series) -> None:
    """What `--select auto` chooses among all members, and its nested error."""
    named = {" ".join(map(str, member)): table[WAYS[0]] for member, table in tables.items()
             if member[1] != LONGER}
    trials = search(named, {name: family(name.split()[0]) for name in named}, labels)
    chosen, why = choose(trials)
    print(f"\n--select auto: {evidence.wrong_of(trials[chosen].probs, labels)[0]} wrong; {why}")


def print_alike(tables: dict[Member, pd.DataFrame], labels: pd.Series) -> None:
    """How the errors of two members correlate, by what the two differ in."""
    errors = pd.DataFrame({member: pd.Series(~evidence.right(table[WAYS[0]], labels), table.index)
                           for member, table in tables.items() if member[1] != LONGER})
    found: dict[str, list[float]] = {}
    for (one, a), (other, b) in combinations(errors.astype(float).items(), 2):
        differ = [what for what, mine, its in zip(FIELDS, one, other, strict=True) if mine != its]
        found.setdefault(" and ".join(differ), []).append(a.corr(b))
    print("\n| two members differ in | pairs | correlation of their errors |\n|---|---:|---|")
    for what, values in found.items():
        print(f"| {what} | {len(values)} | {min(values):.2f} … {max(values):.2f} |")


if __name__ == "__main__":
    command(main)
