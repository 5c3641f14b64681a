"""Notebooks call, show and explain: their form, their refusals, and one executed for real."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from conftest import ROOT, TINY, draw_competition, run, train_notebook
from small_bundles import strong_and_weak_in

from src import notebook
from src.blends import MEAN_METHODS, OTHERS, PLAIN
from src.config import PLACES, UserError
from src.variant import make_variant
from src.vote import PARAMETERS

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TRAIN = ROOT / "notebooks" / "paddy_train.ipynb"
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    """The cells of one `kind`, code or markdown."""
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def own_code(path: Path) -> list[str]:
    """Sources of the code cells, without the parameters cell."""
    return [c.source for c in cells(path, "code") if "tags" not in c.metadata]


# form


@every
def test_notebook_is_stored_without_outputs_or_traces_of_a_run(path):
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    for cell in cells(path, "code"):
        assert (cell.outputs, cell.execution_count) == ([], None)
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert stored.metadata.kernelspec.name == "python3"


@every
def test_the_only_tag_is_parameters_and_it_is_on_one_code_cell(path):
    tagged = [c for c in nbformat.read(path, as_version=4).cells if c.metadata]
    assert [(c.cell_type, c.metadata) for c in tagged] == [("code", {"tags": ["parameters"]})]


@every
def test_title_comes_first_parameters_second(path):
    first, second, *_, last = nbformat.read(path, as_version=4).cells
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert second.metadata.get("tags") == ["parameters"]
    assert last.source.strip()


@every
def test_every_section_opens_with_prose(path):
    title, *sections = [c.source.strip() for c in cells(path, "markdown")]
    assert len(title.split("\n", 1)[1].strip()) > 40
    for section in sections:
        heading, _, prose = section.partition("\n")
        assert heading.startswith("## ") and len(prose.strip()) > 40, heading


@every
def test_code_cells_have_one_to_five_lines(path):
    counts = [sum(bool(line.strip()) for line in code.splitlines()) for code in own_code(path)]
    assert [count for count in counts if not 1 <= count <= 5] == []


@every
def test_all_logic_is_in_src(path):
    logic = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.For, ast.While)
    for code in own_code(path):
        for node in ast.walk(ast.parse(code)):
            assert not isinstance(node, logic), code


@every
def test_imports_are_by_name(path):
    for code in own_code(path):
        for node in ast.walk(ast.parse(code)):  # which no ! or % line would pass, either
            if isinstance(node, ast.ImportFrom):
                assert all(name.name != "*" for name in node.names), code
                assert not any(name.name.startswith("_") for name in node.names), code


@every
def test_no_path_is_written_into_a_cell(path):
    for code in own_code(path):
        strings = [n.value for n in ast.walk(ast.parse(code))
                   if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert not any("/" in s or "\\" in s or Path(s).suffix for s in strings), strings


@every
def test_stem_is_the_notebook_parameter(path):
    default = papermill.inspect_notebook(str(path))["notebook"]["default"]
    assert ast.literal_eval(default) == path.stem


@every
def test_help_notebook_lists_every_parameter_with_its_comment(path):
    done = run("-m", "papermill", "--help-notebook", str(path))
    assert done.returncode == 0
    known = papermill.inspect_notebook(str(path))
    assert known
    for name, facts in known.items():
        assert f"\n  {name}: " in done.stdout and facts["default"] in done.stdout
        assert len(facts["help"]) > 10 and facts["help"] in done.stdout


# its own name


def test_notebook_knows_its_name_from_papermill_or_from_its_parameter():
    own = {"notebook": "paddy_train"}
    assert notebook.notebook_name(own) == "paddy_train"
    injected = own | {"PAPERMILL_INPUT_PATH": "elsewhere/second_try.ipynb"}
    assert notebook.notebook_name(injected) == "second_try"


# refusals before any work


def namespace(**injected) -> dict:
    """What globals() of the training notebook is once papermill has injected something."""
    cell = "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in injected.items())])
    places = dict.fromkeys(PLACES, "")
    return make_variant(**TINY).recipe | places | {"In": ["", "arch = 'x'", cell]} | injected


def refusal(function, *arguments) -> str:
    """The one line `function` refuses `arguments` with."""
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def start(**changes):
    """The check of the notebook's first cell, for the tiny variant with `changes`."""
    return notebook.start(make_variant(**TINY | changes), "", "", "paddy_train", False)


def test_known_names_are_read_into_a_variant():
    read = notebook.read_variant(namespace(arch="test_vit", size="64x48", PAPERMILL_INPUT_PATH="x"))
    assert read == make_variant(**TINY | {"arch": "test_vit", "size": "64x48"})


@pytest.mark.parametrize(
    ("name", "nearest"), [("archh", "arch"), ("sise", "size"), ("model", "models")]
)
def test_misspelt_name_is_refused_with_the_nearest(name, nearest):
    line = refusal(notebook.read_variant, namespace(**{name: "x"}))
    assert line.startswith(f"unknown parameter {name!r}; did you mean {nearest!r}")


def test_size_that_does_not_fit_is_refused_with_those_that_do(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "fresh"))
    line = refusal(lambda: start(arch="test_vit", size=33))
    assert line == "size=33 does not fit test_vit; it takes multiples of 16 (made for 160)"
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize(("spoilt", "more"), [(1, ""), (12, " and 2 more")])
def test_unreadable_images_are_refused_naming_the_first_ten(
    data, tmp_path, monkeypatch, spoilt, more
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "fresh"))
    bad = sorted(data.glob("train_images/*/*.jpg"), key=lambda path: path.name)[:spoilt]
    for path in bad:
        path.write_text("not a picture")
    line = refusal(start)
    named = [path for path in bad if f"{path.parent.name}/{path.name}" in line]
    assert named == bad[:10]
    assert line.startswith(f"{spoilt} unreadable image") and f"{more}; restore them" in line
    assert list((tmp_path / "fresh").rglob("*.*")) == []


def test_missing_data_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_DATA", str(tmp_path / "none"))
    assert "no competition in" in refusal(start)


def test_models_folder_that_cannot_be_written_is_refused_before_any_work(
    data, tmp_path, monkeypatch
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "fresh"))
    (tmp_path / "fresh").write_text("a file where a folder should be")
    monkeypatch.setattr(notebook, "require_images", lambda _: pytest.fail("images were read"))
    assert "cannot write" in refusal(start)


def test_overwrite_is_true_or_false(data):
    places = ("", "", "paddy_train", "yes")
    line = refusal(notebook.start, make_variant(**TINY), *places)
    assert line == "overwrite='yes' must be true or false"


def bundle_files(work: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file of the models folder."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in (work / "models").iterdir()}


@pytest.mark.parametrize("change", [{"epochs": 2}, {"lr": 0.03}, {"item_size": 64}])
def test_another_recipe_of_the_same_name_is_refused_and_nothing_changes(data, work, change):
    before = bundle_files(work)
    line = refusal(lambda: start(**change))
    assert line.startswith("test_resnet_squish_32 exists with another recipe (")
    assert next(iter(change)) in line and "-p desc NAME" in line and "-p overwrite true" in line
    assert bundle_files(work) == before


def test_finished_recipe_ends_the_notebook_without_an_error(data, work, capsys):
    before = bundle_files(work)
    with pytest.raises(SystemExit) as end:
        start()
    assert end.value.code == 0
    assert "finished already" in capsys.readouterr().err
    assert bundle_files(work) == before


@pytest.mark.parametrize("yes", ["true", True])
def test_overwrite_starts_what_is_finished_or_of_another_recipe(data, work, yes):
    variant = make_variant(**TINY | {"epochs": 2})
    begun = notebook.start(variant, "", "", "paddy_train", yes)
    assert begun.models == work / "models" and begun.folder == data


# executed for real


def outputs(executed: Path, fragment: str) -> list[nbformat.NotebookNode]:
    """The outputs of the one code cell that has `fragment` in its source."""
    found = [c for c in cells(executed, "code") if fragment in c.source]
    assert len(found) == 1, fragment
    return found[0].outputs


def as_text(outputs: list[nbformat.NotebookNode], kind: str) -> str:
    return "".join(o.data[kind] for o in outputs if "data" in o and kind in o.data)


@pytest.mark.parametrize(
    ("fragment", "pictures"),
    [("show_batch", 1), ("plot_loss", 1), ("plot_sched", 1), ("plot_mistakes", 2)],
)
def test_executed_notebook_has_its_pictures(trained_once, fragment, pictures):
    shown = outputs(trained_once / "executed.ipynb", fragment)
    drawn = [output.data.get("image/png") for output in shown if "data" in output]
    sizes = [len(png) for png in drawn if png]
    assert len(sizes) == pictures and min(sizes) > 5_000


def test_executed_notebook_shows_the_hold_out_error_in_images_with_and_without_tta(trained_once):
    table = as_text(outputs(trained_once / "executed.ipynb", "holdout_table"), "text/html")
    assert "hold-out error" in table and "plain" in table and "with TTA" in table
    assert table.count("of 6") == 2  # a fifth of 30 images


def test_executed_notebook_tells_the_error_of_every_epoch_in_images(trained_once):
    table = as_text(outputs(trained_once / "executed.ipynb", "fit(get_learner"), "text/html")
    names, *rows = (re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in table.split("<tr>")[1:])
    assert names == ["epoch", "train_loss", "valid_loss", "hold-out error", "time"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    for row in rows:
        told = re.fullmatch(r"(\d) of 6 wrong \((.*) %, 95 % .* … .* %\)", row[3])
        assert told and told[2] == f"{100 * int(told[1]) / 6:.2f}"


def test_executed_notebook_ran_to_its_end(trained_once):
    executed = cells(trained_once / "executed.ipynb", "code")
    assert all(cell.execution_count for cell in executed)
    assert not any(o.output_type == "error" for cell in executed for o in cell.outputs)
    shown = as_text(outputs(trained_once / "executed.ipynb", "export("), "text/plain")
    assert "test_vit_squish_32.pkl" in shown


def test_misspelt_name_stops_papermill_before_any_work(competition_once, tmp_path):
    done = train_notebook(competition_once, tmp_path, archh="test_vit")
    assert done.returncode != 0
    last = [line for line in done.stderr.splitlines() if line.strip()][-1]
    assert last == "error: unknown parameter 'archh'; did you mean 'arch'?"
    assert not (tmp_path / "models").exists()
    executed = [c.execution_count for c in cells(tmp_path / "executed.ipynb", "code")]
    assert executed[3:] == [None] * len(executed[3:])  # defaults, injected, the check: no more


def as_a_user(monkeypatch):
    """Kernels that do not know of pytest: beneath it, ipykernel leaves out the terminal."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # in the test's body: pytest sets it for each phase


def test_rerun_is_skipped_and_goes_to_standard_output_without_a_path(
    competition_once, work, monkeypatch
):
    as_a_user(monkeypatch)
    before, template = bundle_files(work), TRAIN.read_bytes()
    words = [word for name, value in TINY.items() for word in ("-p", name, str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "paddy_train.ipynb", *words],
        cwd=TRAIN.parent, capture_output=True, text=True,
        env=os.environ | {"PADDY_DATA": str(competition_once), "PADDY_WORK": str(work)},
    )
    assert done.returncode == 0, done.stderr
    assert "finished already" in done.stderr and "-p overwrite true" in done.stderr
    printed = nbformat.reads(done.stdout, as_version=4)
    assert printed.cells[0].source.startswith("# Train one variant")
    assert bundle_files(work) == before
    assert TRAIN.read_bytes() == template


def test_overwrite_trains_again_visibly_and_comes_to_the_same_end(
    competition_once, work, monkeypatch
):
    as_a_user(monkeypatch)
    stem = work / "models" / "test_resnet_squish_32"
    before, first = bundle_files(work), pd.read_parquet(f"{stem}.valid.parquet")
    done = train_notebook(competition_once, work, overwrite=True)
    assert done.returncode == 0, done.stderr
    # while papermill runs: before its own bar comes to the end
    assert 0 < done.stderr.index("epoch 1/3") < done.stderr.index("Executing: 100%")
    assert "of 6 wrong (" in done.stderr
    streams = [o.name for cell in cells(work / "executed.ipynb", "code") for o in cell.outputs
               if o.output_type == "stream"]
    assert "stderr" not in streams  # the bars are for the terminal, not for the reader
    after = bundle_files(work)
    redone = {name for name in before if after[name][1] != before[name][1]}
    assert redone == {f"{stem.name}{kind}" for kind in (".pkl", ".json", ".valid.parquet")}
    # another process, and all that is random in it: loaders, augmentation, weights
    again = pd.read_parquet(f"{stem}.valid.parquet")
    pd.testing.assert_frame_equal(again, first, rtol=0, atol=1e-6)


# the ensemble's notebook


ENSEMBLE = ROOT / "notebooks" / "paddy_ensemble.ipynb"


def ensemble_notebook(data: Path, work: Path, **parameters: object) -> subprocess.CompletedProcess:
    """The real notebook through the real papermill; its executed copy is in `work`."""
    words = [word for k, v in parameters.items() for word in ("-p", k, str(v))]
    return run("-m", "papermill", str(ENSEMBLE), str(work / "vote.ipynb"), *words,
               PADDY_DATA=str(data), PADDY_WORK=str(work))


def streams(executed: Path, fragment: str) -> str:
    """What the one cell that has `fragment` in its source printed."""
    return "".join(o.text for o in outputs(executed, fragment) if o.output_type == "stream")


@pytest.fixture(scope="module")
def voted(trained_once, competition_once, tmp_path_factory) -> Path:
    """A work folder whose two tiny models have voted, one of them doubly, in the notebook."""
    work = shutil.copytree(trained_once, tmp_path_factory.mktemp("voted") / "work")
    done = ensemble_notebook(competition_once, work, weights="vit=2", force=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return work


@pytest.fixture(scope="module")
def selected(tmp_path_factory) -> Path:
    """The same for hand-made models that held out enough images for a search."""
    folder = tmp_path_factory.mktemp("selected")
    data, work = draw_competition(folder / "data", each=20), folder / "work"
    strong_and_weak_in(work / "models", data)
    done = ensemble_notebook(data, work, select="auto")
    assert done.returncode == 0, done.stderr[-3000:]
    return work


def test_the_ensemble_s_parameters_are_those_the_vote_knows():
    assert tuple(papermill.inspect_notebook(str(ENSEMBLE))) == PARAMETERS


def test_the_submission_is_named_after_the_notebook_that_wrote_it(voted):
    told = json.loads((voted / "submissions" / "paddy_ensemble.json").read_text())
    assert told["notebook"] == "paddy_ensemble" and told["select"] == "equal"
    weights = {member["family"]: member["weight"] for member in told["members"]}
    assert weights == {"resnet": 1, "vit": 2}
    assert (voted / "submissions" / "paddy_ensemble.csv").is_file()
    assert "kaggle competitions submit" in streams(voted / "vote.ipynb", "write_vote(vote")


@pytest.mark.parametrize("work", ["voted", "selected"])
@pytest.mark.parametrize(
    "figure",
    ["error_plot", "disagreement_map", "correlation_map", "reliability_plot", "class_plot"],
)
def test_every_figure_is_there_once_and_nothing_went_wrong(request, work, figure):
    executed = request.getfixturevalue(work) / "vote.ipynb"
    drawn = [o for o in outputs(executed, figure) if "image/png" in o.get("data", {})]
    assert len(drawn) == 1 and len(drawn[0].data["image/png"]) > 5_000
    code = cells(executed, "code")
    assert all(cell.execution_count for cell in code)
    kinds = {(o.output_type, o.get("name")) for cell in code for o in cell.outputs}
    assert kinds <= {("execute_result", None), ("stream", "stdout")}


def test_without_enough_images_the_notebook_says_what_a_search_lacks(voted):
    said = streams(voted / "vote.ipynb", "trials_table")
    assert "a search for weights needs two models and 50 images" in said
    assert "there are 2 and 6:" in said


def test_the_search_s_table_and_its_decision_are_shown(selected):
    executed = selected / "vote.ipynb"
    table = as_text(outputs(executed, "trials_table"), "text/html")
    for method in ("equal", *PLAIN, *MEAN_METHODS, *OTHERS):
        assert f">{method}</td>" in table
    told = json.loads((selected / "submissions" / "paddy_ensemble.json").read_text())
    assert told["select"] == "auto" and "are taken" in told["why"]
    assert streams(executed, "trials_table").splitlines() == [
        told["why"], f"the same again: --weights {told['weights']}"
    ]
    members = as_text(outputs(executed, "members_table"), "text/html")
    assert "of 60 wrong" in members and "strong" in members


def test_a_misspelt_parameter_stops_the_ensemble_with_one_line(competition_once, tmp_path):
    done = ensemble_notebook(competition_once, tmp_path, weigths="vit=2")
    assert done.returncode != 0
    last = [line for line in done.stderr.splitlines() if line.strip()][-1]
    assert last == "error: unknown parameter 'weigths'; did you mean 'weights'?"
    assert not (tmp_path / "submissions").exists()


def test_the_check_of_parameters_needs_no_torch():
    code = "import sys, src.notebook, src.vote; print('torch' in sys.modules)"
    done = run("-c", code)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(("given", "read"), [("true", True), ("False", False), (True, True)])
def test_a_flag_is_read_from_what_papermill_passes_on(given, read):
    assert notebook.read_flag("force", given) is read
    assert refusal(notebook.read_flag, "force", "yes") == "force='yes' must be true or false"
