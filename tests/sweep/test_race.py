"""A race: decided by hand, trained only where it must be, gone on with by the same command."""

import time
from math import inf

import numpy as np
import pandas as pd
import pytest
from conftest import refusal
from small_bundles import call, refused, snapshot, variant_in

from src import bundle
from src.core import make_variant, sweep_dir
from src.sweep.race import HOUR, decide, plan, race, race_command, stayed
from src.sweep.work import Outcome, State

A, B, C = (make_variant(arch="test_vit", size=32, pretrained=False, tta="none", desc=desc)
           for desc in "abc")


def right_of(images=40, **wrong):
    """Whether each row is right, image × row; `wrong` gives the images a row has wrong."""
    return pd.DataFrame({row: ~np.isin(range(images), numbers) for row, numbers in wrong.items()})


@pytest.fixture
def train(data, models):
    """Instead of an engine: bundles that have as many wrong as `train.wrong` says of their seed.

    `train.given` are the bundles it was to train, `train.fails` ends otherwise than well.
    """

    def train(rows):
        train.given += [f"{row.models.name}/{row.name}" for row in rows]
        for row in rows:
            if row.name not in train.fails:
                desc, seed = row.variant.desc, row.variant.seed
                variant_in(row.models, data, wrong=train.wrong[desc][seed - 42],
                           card={"seconds": 900}, **row.variant.recipe)
        return [Outcome(row.name, "cpu 1", train.fails.get(row.name, State.DONE), "no memory")
                for row in rows]

    train.wrong, train.given, train.fails = {}, [], {}
    return train


def run(train, data, capsys, repeats=3, keep=1, hours=inf):
    """The rows a, b and c raced; the lines printed, and the rows that failed."""
    capsys.readouterr()
    failed = race(plan([A, B, C], repeats, data), data, train, keep, hours)
    return capsys.readouterr().out.splitlines(), failed


def stored():
    """The lines of race.txt without the times at which they were written."""
    lines = (sweep_dir() / "race.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("20")]


# The decision


@pytest.mark.parametrize(
    ("gained", "lost", "leaves"),
    [  # by the binomial distribution: 67/2048, 299/4096, 1/16, 1/32, 0
        (2, 9, True), (3, 9, False), (0, 4, False), (0, 5, True), (7, 7, False),
    ],
)  # fmt: skip
def test_a_row_leaves_when_it_is_worse_with_95_percent_one_sided(gained, lost, leaves):
    gains = decide(right_of(leader=range(gained), other=range(20, 20 + lost)))
    assert list(gains) == ["leader", "other"]
    assert stayed(gains) == (["leader"] if leaves else ["leader", "other"])
    assert gains["other"].difference == gained - lost


# With bundles


def test_who_left_when_and_who_stayed_is_printed_in_images_and_stored(train, data, capsys):
    train.wrong = {"a": [2, 0], "b": [0, 1], "c": [6, 0]}
    lines, failed = run(train, data, capsys, repeats=2)
    a, b, c = (row.name for row in (A, B, C))
    assert not failed and lines == [
        f"round 1: 3 rows; {b} has the fewest wrong, 0 of 6 images, with TTA where a row has it",
        f"  {c} leaves, worse with 95 % one-sided: −6 (90 % −6 … −2, p 0.031) images",
        f"round 2: 2 rows; {b} has the fewest wrong, 1 of 12 images, with TTA where a row has it",
        f"2 rows stayed, none clearly worse; against {b}:",
        lines[4],
        "5 runs, 1.25 hours of training; the full grid would have taken 6 runs, about 1.50 hours",
    ]
    assert lines[4].startswith(f"  {a}: −1 (90 % −") and "best" not in "".join(lines)
    assert stored() == lines


def test_rows_go_to_models_and_their_repeats_beside_them_where_no_ensemble_takes_them(
    train, data, models, capsys
):
    train.wrong = {"a": [0, 0], "b": [0, 0], "c": [6, 0]}
    variant_in(models / "compare", data, **C.recipe, card={"seconds": 900}, wrong=6)
    run(train, data, capsys, repeats=2)
    a, b, c = (row.name for row in (A, B, C))
    assert train.given == [f"models/{a}", f"models/{b}", f"compare/{a}_seed43",
                           f"compare/{b}_seed43"]
    assert bundle.names(models) == [a, b]


def test_the_same_race_trains_nothing_again_and_one_of_more_repeats_goes_on(
    train, data, models, capsys
):
    train.wrong = {"a": [1, 1, 1], "b": [0, 1, 1], "c": [6, 0, 0]}
    first, before = run(train, data, capsys, repeats=2), snapshot(models)
    train.given.clear()
    assert run(train, data, capsys, repeats=2) == first
    assert train.given == [] and snapshot(models) == before
    assert stored() == first[0] * 2  # of both races
    (sweep_dir() / "race.txt").unlink()  # the record is of the race, not what it goes on from
    assert run(train, data, capsys)[0][:3] == first[0][:3]
    assert train.given == [f"compare/{row.name}_seed44" for row in (B, A)]
    assert stored()[-1].startswith("7 runs, ")


def test_a_row_alone_is_not_called_the_best(train, data, capsys):
    train.wrong = {"a": [0], "b": [5], "c": [6]}
    lines, _ = run(train, data, capsys, repeats=1)
    assert lines[-2] == f"only {A.name} stayed" and "best" not in "".join(lines)


def test_a_row_that_fails_leaves_and_the_others_go_on(train, data, capsys):
    train.wrong, train.fails = {"a": [0, 0], "b": [0, 0], "c": [0, 0]}, {B.name: State.FAILED}
    lines, failed = run(train, data, capsys, repeats=2)
    assert failed == {B.name: "no memory"}
    assert f"compare/{A.name}_seed43" in train.given and "2 rows stayed" in lines[-3]
    assert not any("compare/" in name and B.name in name for name in train.given)
    train.fails.clear()
    run(train, data, capsys, repeats=1)
    assert train.given[-1] == f"models/{B.name}"


def test_when_all_rows_fail_nothing_is_claimed(train, data, capsys):
    train.fails = dict.fromkeys((row.name for row in (A, B, C)), State.FAILED)
    lines, failed = run(train, data, capsys)
    assert lines == [] and len(failed) == 3 and not (sweep_dir() / "race.txt").exists()


def test_ctrl_c_ends_the_race(train, data, capsys):
    train.wrong, train.fails = {"a": [0], "b": [0], "c": [0]}, {C.name: State.INTERRUPTED}
    with pytest.raises(KeyboardInterrupt):
        run(train, data, capsys)
    assert len(train.given) == 3 and not (sweep_dir() / "race.txt").exists()


def test_a_round_for_which_the_hours_do_not_suffice_decides_nothing(train, data, capsys):
    train.wrong, train.fails = {"a": [0], "b": [0], "c": [6]}, {C.name: State.WAITING}
    lines, failed = run(train, data, capsys, hours=2)
    assert lines == ["the 2 hours are spent before 1 of the 3 runs of round 1"] == stored()
    assert failed == {}
    train.fails = {f"{B.name}_seed43": State.WAITING}
    train.wrong = {"a": [0, 0], "b": [0, 0], "c": [6]}
    lines, _ = run(train, data, capsys, hours=2)
    assert train.given[3] == f"models/{C.name}" and lines[1].startswith(f"  {C.name} leaves")
    assert lines[2] == "the 2 hours are spent before 1 of the 2 runs of round 2"
    assert lines[3].startswith("2 rows stayed")


def test_ctrl_c_in_a_later_round_stores_who_stayed_before_it(train, data, capsys):
    train.wrong = {"a": [0, 0], "b": [0, 0], "c": [6]}
    train.fails = {f"{B.name}_seed43": State.INTERRUPTED}
    with pytest.raises(KeyboardInterrupt):
        run(train, data, capsys)
    lines = capsys.readouterr().out.splitlines()
    assert stored() == lines and lines[-3].startswith("2 rows stayed")
    assert lines[-1].startswith("3 runs, 0.75 hours")


def test_a_race_ends_at_keep_or_with_the_round_in_which_the_hours_are_spent(train, data, capsys):
    train.wrong = {"a": [0, 0], "b": [0, 0], "c": [6, 0]}
    lines, _ = run(train, data, capsys, repeats=2, hours=0)
    assert len(train.given) == 3 and lines[2] == "the 0 hours are spent" and stored() == lines
    assert lines[-1].startswith("3 runs, 0.75 hours")
    lines, _ = run(train, data, capsys, repeats=2, keep=2)
    assert len(train.given) == 3 and lines[2].startswith("2 rows stayed")
    run(train, data, capsys, repeats=2, hours=1)
    assert len(train.given) == 5


def test_a_row_is_judged_by_all_rounds_together_and_another_may_lead_at_last(
    train, data, capsys
):
    train.wrong = {"a": [2, 5, 4], "b": [3, 0, 0], "c": [6, 0, 0]}
    lines, _ = run(train, data, capsys)
    a, b, c = (row.name for row in (A, B, C))
    assert lines[0].startswith(f"round 1: 3 rows; {a} has the fewest wrong, 2 of 6 images, ")
    assert any(f"round 2: 3 rows; {b} has the fewest wrong, 3 of 12 images" in line
               for line in lines)
    assert f"compare/{a}_seed44" in train.given


# The command


def test_the_command_races_the_rows_of_a_grid(train, data, models, monkeypatch):
    def train_in_table(rows, args):
        waits.append(args.until - time.monotonic())
        return train(rows)

    waits = []

    monkeypatch.setattr("src.sweep.table.train", train_in_table)
    train.wrong = {"a": [1, 1, 0], "b": [0, 1]}
    words = ["--grid", "arch=test_vit", "size=32", "pretrained=False", "tta=none", "desc=a,b"]
    done = call(lambda: race_command([*words, "--repeats", "2", "--keep", "1", "--hours", "1"]))
    assert done.returncode == 0, done.stderr
    assert bundle.names(models / "compare") == [f"{row.name}_seed43" for row in (A, B)]
    # For a card that is taken between two rounds, until the hours are spent.
    assert waits[0] < 0 and HOUR - 60 < waits[1] <= HOUR
    assert "4 runs, " in done.stdout and "2 rows stayed" in done.stdout
    train.fails = {f"{B.name}_seed44": State.FAILED}
    done = call(lambda: race_command([*words, "--keep", "1"]))
    assert "1 of 2 rows failed; first: test_vit_b: no memory" in refused(done)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["size=32"], "one row cannot race; name two or more"),
        (["size=32", "seed=42,43", "--keep", "0"], "--repeats and --keep must be 1 or more"),
        (["size=32", "seed=42,43", "--hours", "0"], "--hours 0 must be more than 0"),
        (["size=32", "seed=42,43"], "hold out different images"),
        (["size=32", "desc=x,y", "fold=all"], "fold=all holds nothing out"),
    ],
)
def test_rows_that_cannot_race_are_refused_before_any_training(data, models, words, message):
    words = ["--grid", "arch=test_vit", "pretrained=False", *words]
    assert message in refused(call(lambda: race_command(words)))
    assert bundle.names(models) == []


def test_seeds_that_hold_out_the_same_images_are_refused(train, data, models):
    train.wrong = {"a": [0, 0], "b": [0, 0]}
    plan([A], 2, data)
    first, second = sorted((models / "compare").glob("folds_*"))
    second.write_text(first.read_text())
    assert "seeds 42, 43 hold out the same images" in refusal(plan, [A, B], 2, data)
