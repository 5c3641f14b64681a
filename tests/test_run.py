"""Rows of params.yaml through the notebook: known names, nothing twice, on after a failure."""

import errno
import json
import os
import sys

import nbformat
import pytest
from conftest import ROOT, TINY, refusal
from conftest import run as shell
from nbformat import v4

from src import run
from src.core import config, load_params, make_variant

DONE = make_variant(**TINY)  # the test_resnet of the `work` fixture

ROW = "tf_efficientnet_lite0_squish_96"  # of the demo


def tiny(**changes):
    return make_variant(**TINY | changes)


@pytest.fixture
def template(tmp_path, monkeypatch):
    """Call it with code: the notebook that is run from then on, in a repository of its own."""

    def write(code: str) -> None:
        names = "\n".join(f"{name} = None" for name in [*DONE.recipe, *config.PLACES])
        parameters = v4.new_code_cell(names, metadata={"tags": ["parameters"]})
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nb = v4.new_notebook(cells=[parameters, v4.new_code_cell(code)],
                             metadata={"kernelspec": kernel})
        (tmp_path / "notebooks").mkdir()
        nbformat.write(nb, tmp_path / "notebooks" / "paddy_train.ipynb")
        monkeypatch.setattr(run, "ROOT", tmp_path)

    return write


def command(monkeypatch, *words: str) -> None:
    """`python -m src.run` with `words`, in this process."""
    monkeypatch.setattr(sys, "argv", ["run", *words])
    run.main()


def test_an_unknown_row_is_one_line_with_the_nearest():
    done = shell("-m", "src.run", "vit_small_squish_225")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: params.yaml has no row 'vit_small_squish_225'")
    assert "'vit_small_squish_224'" in done.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([ROW, "zzz"], "no row 'zzz'"),
        ([], "vit_small_squish_224"),
        ([ROW, "--data", "/none"], "no competition in"),
    ],
)
def test_a_mistake_is_refused_before_any_training(monkeypatch, words, part):
    monkeypatch.setattr(run, "run_notebook", lambda *_: pytest.fail("trained"))
    assert part in refusal(command, monkeypatch, *words)


def test_rows_named_are_the_rows_trained_and_all_are_those_of_variants(monkeypatch):
    monkeypatch.setattr(run, "train", lambda rows, *_: [variant.name for variant in rows])
    for words, names in (
        (["--all"], list(load_params()["variants"])),  # without the demo's
        ([ROW, "vit_small_pad_224"], [ROW, "vit_small_pad_224"]),
    ):
        trained = refusal(command, monkeypatch, *words)  # all of them "fail"
        assert trained == f"{len(names)} of {len(names)} variants failed; first: {names[0]}"


def test_finished_rows_are_skipped_unless_overwritten_and_a_refused_one_stops_nothing(
    data, work, monkeypatch, capsys, template
):
    template("raise AssertionError('a kernel was started')")
    rows = [tiny(epochs=2), tiny(arch="test_vit"), DONE]  # the first: another recipe of its name
    monkeypatch.setattr(run, "find_variants", lambda names: rows)
    with pytest.raises(SystemExit) as end:
        config.command(lambda: command(monkeypatch, "these"))
    assert str(end.value.code).startswith("error: 1 of 3 variants failed; first: test_resnet")
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("test_resnet_squish_32: failed: ") and "another recipe" in first
    assert others == [f"{name}_squish_32: finished already" for name in ("test_vit", "test_resnet")]
    (failed,) = run.train([DONE], "", True)
    assert "a kernel was started" in failed


# One architecture is killed, one raises, the others "train": they copy a finished bundle.
CASES = """
import os
from pathlib import Path
assert arch != "test_convnext", "arch test_convnext\\nis unlucky"
if arch == "test_vit":
    os.kill(os.getpid(), 9)
for path in Path(models).glob("test_resnet_squish_32.*"):
    content = path.read_bytes()
    if path.suffix == ".json":
        content = content.replace(b"squish_32", desc.encode())
    path.with_name(path.name.replace("squish_32", desc)).write_bytes(content)
"""


def test_killed_kernel_and_failed_notebook_are_lines_and_the_rest_is_trained(
    data, work, capsys, template
):
    template(CASES)
    archs = ("test_vit", "test_convnext", "test_resnet")
    failed = run.train([tiny(arch=arch, desc="new") for arch in archs], "", False)
    killed, raised = failed
    assert killed.startswith("test_vit_new: ") and "kernel was killed" in killed
    assert raised.startswith("test_convnext_new: AssertionError: arch test_convnext is unlucky")
    assert str(config.runs_dir() / "test_convnext_new.ipynb") in raised  # where to look
    out = capsys.readouterr().out
    assert "test_resnet_new: training" in out and "test_resnet_new: hold-out " in out
    assert not any("\n" in line for line in failed)


CHECK = """
import json
from pathlib import Path
from src.core import UserError
given = {name: globals()[name] for name in NAMES}
Path(models, "given.json").write_text(json.dumps(given))
raise UserError("no rice in the field; sow some")
"""


def test_notebook_is_given_exactly_the_fields_and_the_places(data, models, capfd, template):
    models.mkdir(parents=True)
    places = {"data": str(data), "models": str(models), "notebook": "paddy_train"}
    expected = DONE.recipe | places | {"overwrite": True}
    template(f"NAMES = {list(expected)}\n{CHECK}")
    line = refusal(run.run_notebook, DONE, data, models, True)
    assert line == "no rice in the field; sow some"  # the notebook's line, as it is
    assert json.loads((models / "given.json").read_text()) == expected
    assert capfd.readouterr().err == ""  # the kernel has no warnings for the user
    executed = nbformat.read(config.runs_dir() / f"{DONE.name}.ipynb", as_version=4)
    (injected,) = [cell for cell in executed.cells
                   if "injected-parameters" in cell.metadata.get("tags", [])]
    assert 'notebook = "paddy_train"' in injected.source  # so that it is no copy of unknown name


def test_only_what_differs_from_the_cell_is_given_to_the_notebook(monkeypatch, own_params):
    path = ROOT / "notebooks" / "paddy_train.ipynb"
    places = {"data": "/photographs", "models": "", "notebook": "paddy_train", "overwrite": False}
    given = run.changes(path, DONE.recipe | places)
    assert given == {
        "arch": "test_resnet", "item_size": 48, "size": 32, "epochs": 3, "lr": 0.02, "bs": 8,
        "pretrained": False, "views": 2, "label_smoothing": 0.1, "data": "/photographs",
    }
    # The defaults of params.yaml may be edited, the cell's stand in the notebook: they decide.
    edited = (ROOT / "params.yaml").read_text().replace("  epochs: 12\n", "  epochs: 20\n")
    own_params(edited)
    assert run.changes(path, make_variant().recipe) == {"epochs": 20}


def test_full_disk_is_refused_with_the_file(data, work, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as papermill: of no file

    monkeypatch.setattr(run.papermill, "execute_notebook", full)
    line = refusal(run.run_notebook, DONE, data, work / "models")
    assert f"{DONE.name}.ipynb: No space left on device" in line
