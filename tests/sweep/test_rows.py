"""Which rows a sweep trains: named, or of a grid; and everything that is wrong, at once."""

import argparse
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, TINY, refusal
from small_bundles import call, variant_in

from src.core import load_params, load_variants, make_variant
from src.sweep import add_arguments, check, chosen, rows, rows_for
from src.sweep.__main__ import main
from src.sweep.rows import checked

SMALL = ["arch=test_vit,test_resnet", "size=40,160", "item_size=480"]


def args(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_a_grid_is_listed_with_its_names_and_what_cannot_be(capsys):
    words = ["--grid", *SMALL, "resize=squish,rect"]
    assert "5 of 8 combinations are impossible" in refusal(chosen, args(*words))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "grid of 8: 5 impossible, 3 rows"
    assert lines[2].startswith("  arch=test_vit size=40 item_size=480 resize=rect: impossible: ")
    assert "needs a rectangle" in lines[2] and "it takes multiples of 16" in lines[1]
    names = [variant.name for variant in chosen(args(*words, "--skip-impossible"))]
    assert names == [f"test_{name}" for name in ("vit_squish_160", "resnet_squish_40",
                                                 "resnet_squish_160")]


def test_doubles_are_trained_once_and_what_is_in_no_name_goes_into_desc(capsys):
    grid = ["--grid", "arch=vit_small", "resize=squish", "size=224", "seed=42,42", "lr=0.01,2e-3"]
    variants = chosen(args(*grid))
    assert [v.name for v in variants] == ["vit_small_squish_224_lr0_01",
                                          "vit_small_squish_224_lr0_002"]
    assert [v.lr for v in variants] == [0.01, 0.002]
    assert capsys.readouterr().out.count("there already, trained once") == 2
    grid = ["vit_small_squish_224", "--grid", "arch=vit_small", "size=224", "seed=42,43"]
    names = [variant.name for variant in chosen(args(*grid))]
    assert names == ["vit_small_squish_224", "vit_small_squish_224_seed43"]


def test_a_desc_names_a_grid_together_with_what_it_would_hide():
    words = ["--grid", "arch=vit_small", "resize=squish,pad", "size=224", "epochs=2,3", "desc=e"]
    assert [variant.desc for variant in chosen(args(*words))] == [
        f"e_{resize}_epochs{epochs}" for resize in ("squish", "pad") for epochs in (2, 3)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a row of params.yaml, --all, or a --grid"),
        (["--grid", "sizze=224"], "unknown parameter 'sizze'; did you mean"),
        (["--grid", "size"], "size has no values"),
        (["--grid", "size=224", "size=192"], "size is given twice"),
        (["--grid", "arch=vit_small", "size=224", "lr=0.5", "desc=squish_224"],
         "two recipes are named vit_small_squish_224; give the grid another desc"),  # a row is
        (["vit_small_squish_224", "--all"], "leave one of both out"),
        (["vit_small_squish_225"], "'vit_small_squish_224'"),
        (["zzz"], "params.yaml has no row 'zzz'; the nearest of "),
    ],
)
def test_a_mistake_is_one_line(words, message):
    line = refusal(chosen, args(*words))
    assert message in line and len(line) < 250


def test_a_grid_that_grows_says_which_recipes_are_trained_again(data, models, capsys):
    recipe = {"arch": "test_vit", "size": 32, "lr": 0.01}
    variant_in(models, data, **recipe | {"tta": "random"})
    words = ["--grid", "arch=test_vit", "size=32"]
    chosen(args(*words, "lr=0.01,0.02"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "  test_vit_squish_32_lr0_01: trained again; the same is finished as test_vit_squish_32",
        "  test_vit_squish_32_lr0_02"]
    variant_in(models, data, **recipe | {"tta": "random", "desc": "squish_32_lr0_01"})
    chosen(args(*words, "lr=0.01,0.02"))
    assert "trained again" not in capsys.readouterr().out  # both are finished


def test_values_are_of_their_parameter(capsys):
    words = ["--grid", "arch=vit_small", "size=224"]
    found = chosen(args(*words, "desc=2026_01,1", "sizes=128,224"))
    assert [(v.desc, v.sizes) for v in found] == [("2026_01", "128,224"), ("1", "128,224")]
    found = chosen(args(*words, "sizes=128,224;160,224", "flip_vert=true,false"))
    assert {(v.sizes, v.flip_vert) for v in found} == {
        (sizes, flip) for sizes in ("128,224", "160,224") for flip in (True, False)}


def test_rows_of_a_grid_are_written_only_on_request_and_read_back_equal(
    own_params, tmp_path, monkeypatch
):
    monkeypatch.setattr(rows, "check", lambda *_: [])
    text = (ROOT / "params.yaml").read_text()
    own_params(text)
    words = ["--grid", "arch=vit_small", "size=224", "resize=squish", "seed=42,43", "lr=find"]
    new = chosen(args(*words[:-1]))[-1]
    assert (tmp_path / "params.yaml").read_text() == text
    checked(args(*words[:-1], "--write"))
    assert load_variants()[new.name] == new
    written = (tmp_path / "params.yaml").read_text()
    line = f"  {new.name}: {{arch: vit_small, resize: squish, size: 224, seed: 43}}\n"
    assert written.replace(line, "") == text and line in written
    assert list(load_params()["variants"])[-1] == new.name
    checked(args(*words[:-1], "--write"))
    assert (tmp_path / "params.yaml").read_text() == written


def test_everything_that_is_wrong_is_said_at_once_and_nothing_starts(data, models):
    good = make_variant(**TINY)
    other = make_variant(**TINY | {"epochs": 9})
    variant_in(models, data, **TINY | {"arch": "test_vit", "tta": "none"})
    wrong = [make_variant(**TINY | change) for change in (
        {"arch": "test_vitt"}, {"exclude": "/none.csv", "desc": "a"},
        {"pretrained": "/none.pth", "desc": "b"}, {"arch": "test_vit", "epochs": 9},
    )]
    assert check([good, other], data, models) == []
    lines = check([good, *wrong], data, models)
    for line, part in zip(lines, ("test_vitt", "/none.csv", "/none.pth", "another recipe"),
                          strict=True):
        assert part in line and "\n" not in line
    (data / "train_images" / "disease_a").rename(data / "gone")
    first, *others = check([good, *wrong[:3]], data, models)
    assert str(data) in first and len(others) >= 2
    done = call(main, "--grid", "arch=test_resnet", "size=32", "pretrained=/none.pth",
                "--data", "/none")
    assert (done.returncode, done.stderr.count("\n")) == (1, 3), done.stderr
    assert "no competition in /none" in done.stderr and "nothing was started" in done.stderr
    done = call(main, "unknown", "--data", "/none")
    assert "no row 'unknown'" in done.stderr and "no competition in /none" in done.stderr


def test_a_folder_that_is_full_or_cannot_be_written_to_is_a_complaint(data, models, monkeypatch):
    row = make_variant(**TINY)
    models.mkdir(parents=True)
    usage = SimpleNamespace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        (line,) = check([row], data, models)
        assert "the bundles need 0.0 GB, 0.0 GB are free; free some space" in line
        usage.free = 10_000_000
        assert check([row], data, models) == []
        variant_in(models, data, arch="test_resnet", tta="none")  # its bundle is of 20 bytes
        usage.free = 25
        assert check([row], data, models) == []
        (line,) = check([row], data, models, 2)  # a race trains it twice
        assert "the bundles need" in line
    shutil.rmtree(models.parent / "sweep")
    (models.parent / "sweep").write_text("a file")
    (line,) = check([row], data, models)
    assert f"cannot write {models.parent / 'sweep'}" in line
    (models.parent / "sweep").unlink()
    (line,) = check([row], data, Path("/proc/models"))  # where nobody can write, root neither
    assert line.startswith("cannot write /proc/models")


def test_finished_rows_are_left_out(data, models):
    recipe = TINY | {"arch": "test_vit", "tta": "none"}
    variant_in(models, data, **recipe)
    variants = [make_variant(**recipe), make_variant(**TINY)]
    assert [row.name for row in rows_for(variants, data, models)] == ["test_resnet_squish_32"]
