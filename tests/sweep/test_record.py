"""record.sqlite: what is in it, that it can be made again, and what it answers."""

import json
import shutil
import sqlite3
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT, run
from small_bundles import call, refused, snapshot, variant_in

from src import bundle, record
from src.core import make_variant, sweep_dir
from src.submission import sent
from src.sweep import query, rebuild

EPOCHS = [{"train_loss": 0.5, "valid_loss": 0.75, "wrong": 3, "seconds": 2.5},
          {"train_loss": 0.25, "valid_loss": None, "wrong": None, "seconds": 1.5}]
NEW = {
    "epochs": EPOCHS, "machine": {"device": "Fast GPU", "cores": 4, "memory_gb": 15.5},
    "started": "2026-02-02T02:02:02+00:00", "seconds": 4.0, "peak_memory_mb": 2000,
    "training": {"epochs": 2, "planned": 3, "lr": 0.02},
}  # fmt: skip
ATTEMPT = {
    "started": "2026-02-01T00:00:00+00:00", "ended": "2026-02-01T00:10:00+00:00", "place": "cpu 1",
    "reason": "its kernel was killed", "epoch": 1, "epochs": 3, "log": "sweep/test_vit.log",
}  # fmt: skip


@pytest.fixture
def filled(models, data):
    """A work folder with two repeats, one of a race; an older card, a failed attempt, a ledger."""
    variant_in(models, data, wrong=1, card=NEW)
    variant_in(models / "compare", data, wrong=2, seed=43, fold=1, card=NEW)
    variant_in(models, data, wrong=3, arch="test_resnet", resize="pad", size=32)  # without `NEW`
    sweep_dir().mkdir(parents=True)
    attempts = {"name": "test_vit_squish_224", "attempts": [ATTEMPT]}
    (sweep_dir() / "test_vit_squish_224.json").write_text(json.dumps(attempts))
    (sweep_dir() / "probes.json").write_text("{}")  # of a plan
    row = dict.fromkeys(sent.COLUMNS, "") | {"ref": "7", "file": "a.csv", "public_right": "2571"}
    sent.ledger_path().parent.mkdir(parents=True)
    pd.DataFrame([row]).to_csv(sent.ledger_path(), index=False)
    return models.parent


def rows(sql: str) -> list[list]:
    return query(sql).to_numpy().tolist()


def test_every_card_attempt_and_submission_is_a_row(filled):
    said = rebuild()
    assert said == f"{filled / 'record.sqlite'}: runs 3, epochs 4, attempts 1, submissions 1"
    columns = 'folder, name, "row", arch, size, images, wrong_tta, device, seconds, epochs_done'
    assert rows(f"select {columns} from runs order by wrong_tta") == [
        ["models", "test_vit_squish_224", "test_vit_squish_224", "test_vit", 224, 6, 1,
         "Fast GPU", 4.0, 2],
        ["compare", "test_vit_squish_224_fold1_seed43", "test_vit_squish_224", "test_vit", 224, 6,
         2, "Fast GPU", 4.0, 2],
        ["models", "test_resnet_pad_32", "test_resnet_pad_32", "test_resnet", 32, 6, 3,
         None, None, None],
    ]  # fmt: skip
    epochs = [[number, *epoch.values()] for number, epoch in enumerate(EPOCHS, 1)]
    assert rows("select epoch, train_loss, valid_loss, wrong, seconds from epochs "
                "where folder = 'compare'") == epochs
    assert rows("select * from attempts") == [["test_vit_squish_224", *ATTEMPT.values()]]
    assert rows("select ref, file, public_right, private from submissions") == [
        ["7", "a.csv", 2571, None]]
    assert rows("select typeof(wrong_tta), typeof(seconds) from runs where seconds") == [
        ["integer", "real"]] * 2


def test_best_has_the_repeats_of_a_row_in_one_line_fewest_errors_first(filled):
    rebuild()
    assert rows('select "row", runs, wrong, images, percent from best') == [
        ["test_vit_squish_224", 2, 1.5, 6, 25.0], ["test_resnet_pad_32", 1, 3.0, 6, 50.0]]


def test_500_runs_are_all_there_and_averaged_by_row(models, data):
    card = bundle.read_card(models, variant_in(models, data, card=NEW))
    for number in range(500):
        row, repeat = divmod(number, 5)
        variant = make_variant(**card["variant"] | {"desc": f"r{row}", "seed": 42 + repeat})
        bundle.pkl_path(models, variant.name).write_bytes(b"p" * card["bytes"])
        holdout = bundle.holdout_counts(2081, 0, row + repeat)
        facts = {"name": variant.name, "variant": variant.recipe, "holdout": holdout}
        bundle.write_card(models, card | facts)
    assert ": runs 501, epochs 1,002, " in rebuild()
    assert rows('select "row", runs, wrong, images from best where runs > 1') == [
        [f"test_vit_r{row}", 5, row + 2.0, 2081] for row in range(100)]
    assert rows("select sum(wrong), count(distinct name) from epochs") == [[501 * 3, 501]]


def test_deleting_it_loses_nothing_and_a_copy_of_the_file_alone_is_whole(filled, tmp_path):
    def contents(path):
        with sqlite3.connect(path) as connection:
            return list(connection.iterdump())

    before = snapshot(filled)
    rebuild()
    copy = shutil.copy(filled / "record.sqlite", tmp_path / "copy.sqlite")
    (filled / "record.sqlite").unlink()
    assert snapshot(filled) == before  # no journal beside it
    rebuild()
    assert contents(filled / "record.sqlite") == contents(copy)
    assert sum(line.startswith("INSERT") for line in contents(copy)) == 3 + 4 + 1 + 1


def test_two_processes_rebuild_it_at_once_and_a_reader_always_finds_it_whole(filled):
    rebuild()
    code = ("import sys; from src.sweep import rebuild; [rebuild() for _ in range(8)]; "
            "assert 'torch' not in sys.modules")
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
    found = set()
    while any(process.poll() is None for process in both):
        found.add(*map(tuple, rows("select count(*) from runs")))
    assert found == {(3,)} and [process.returncode for process in both] == [0, 0]
    assert [path.name for path in filled.glob("*record*")] == ["record.sqlite"]


def test_attempts_that_are_half_written_leave_the_record_whole(filled):
    (filled / "sweep" / "test_vit_squish_224.json").write_text("")
    assert "attempts 0" in rebuild()


def test_an_empty_work_folder_has_an_empty_record(models):
    assert rebuild().endswith(": runs 0, epochs 0, attempts 0, submissions 0")
    assert rows("select name, wrong_tta from runs") == rows("select * from best") == []


def test_a_card_that_describes_no_model_here_is_left_out_and_named(filled):
    name = "test_resnet_pad_32"
    bundle.pkl_path(filled / "models", name).write_bytes(b"others")
    said = rebuild().splitlines()
    assert said[0].endswith("runs 2, epochs 4, attempts 1, submissions 1")
    assert said[1].startswith("left out: ") and name in said[1] and len(said) == 2


def test_the_command_prints_what_is_selected_and_changes_nothing(filled):
    shown = run("-m", "src.record", "--sql", "select name, device from runs order by 1").stdout
    assert [line.split() for line in shown.splitlines()] == [
        ["name", "device"], ["test_resnet_pad_32", "-"],
        ["test_vit_squish_224", "Fast", "GPU"], ["test_vit_squish_224_fold1_seed43", "Fast", "GPU"],
    ]  # fmt: skip
    for sql, problem in {
        "selec 1": "syntax error", "select nmae from runs": "no such column: nmae",
        "delete from runs": "readonly", "select 1; select 2": "one statement", "/**/": "no rows",
    }.items():
        assert problem in refused(call(record.main, "--sql", sql))
    assert rows("select count(*) from runs") == [[3]]
