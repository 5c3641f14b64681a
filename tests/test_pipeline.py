"""The graph of dvc.yaml: it fits params.yaml and the repository, and `dvc repro` runs it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, TINY, draw_competition

from src.bundle import TTA_FIELDS, read_card
from src.competition import sample
from src.core import load_facts, load_params, sha256
from src.evidence import read_probs

NAME = "test_resnet_squish_32"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def test_stages_train_each_row_again_only_for_what_its_training_depends_on():
    assert list(STAGES) == ["data", "train", "predict", "ensemble"]
    train, predict = STAGES["train"]["do"], STAGES["predict"]["do"]
    assert train["params"] == ["train", "variants.${key}"]
    assert predict["params"] == ["predict"]
    assert tuple(load_params()["predict"]) == TTA_FIELDS
    assert STAGES["train"]["foreach"] == STAGES["predict"]["foreach"] == "${variants}"
    assert not any("." in name for name in load_params()["variants"]), "DVC reads dots as paths"


def test_no_output_is_deleted_before_the_new_one_is_complete():
    for stage in STAGES.values():
        body = stage.get("do", stage)
        outs = [*body.get("outs", []), *body.get("metrics", [])]
        assert outs and all(next(iter(out.values()))["persist"] for out in outs)


# As DVC runs it


def dvc(place: Path, *words: str) -> subprocess.CompletedProcess:
    """DVC in the repository at `place`, with nothing of this machine's settings."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PADDY_", "DVC_", "GIT_"))}
    own |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(place.parent / "settings"),
        "DVC_SITE_CACHE_DIR": str(place.parent / "site"),
    }
    return subprocess.run([sys.executable, "-m", "dvc", *words], cwd=place, env=own,
                          capture_output=True, text=True, timeout=600)


def clone(place: Path) -> None:
    """The repository's HEAD at `place`, with the working tree's code and one tiny variant."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place)], check=True)
    for name in ("src", "notebooks"):
        shutil.rmtree(place / name)
        ignore = shutil.ignore_patterns("__pycache__", "runs", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, place / name, ignore=ignore)
    shutil.copy(ROOT / "dvc.yaml", place)
    params = load_params() | {"variants": {NAME: TINY}, "demo": {}}
    (place / "params.yaml").write_text(yaml.safe_dump(params))
    draw_competition(place / "data" / load_facts().slug)
    (place.parent / "settings").mkdir()
    (place.parent / "settings" / "config").write_text("[core]\n    check_update = false\n")


def stages_run(done: subprocess.CompletedProcess) -> list[str]:
    """The stages that `dvc repro` really ran."""
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"^Running stage '(.*)':", done.stdout, re.M)


def state(place):
    """path → time of the last change of everything the stages make."""
    files = [*place.glob("models/*.*"), *place.glob("submissions/*"), *place.glob("dvc.lock")]
    return {path.name: path.stat().st_mtime_ns for path in files}


def send_another(place: Path) -> bytes:
    """A submission with other labels, sent by an earlier version; its bytes."""
    path = place / "submissions" / "paddy_train.csv"
    table = pd.read_csv(path)
    table.assign(label=table.label.to_numpy()[::-1]).to_csv(path, index=False)
    record = json.loads(path.with_suffix(".json").read_text())
    facts = {"sha256": sha256(path), "submitted": True, "good": False}
    path.with_suffix(".json").write_text(json.dumps(record | facts))
    path.chmod(0o444)
    return path.read_bytes()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not in a git repository")
def test_dvc_repro_makes_a_submission_then_nothing_then_what_another_tta_needs(tmp_path):
    place = tmp_path / "clone"
    clone(place)
    first = dvc(place, "repro")
    assert stages_run(first) == ["data", f"train@{NAME}", f"predict@{NAME}", "ensemble"]
    submission = pd.read_csv(place / "submissions" / "paddy_train.csv")
    assert list(submission.image_id) == list(sample(place / "data" / load_facts().slug).image_id)
    provenance = json.loads((place / "submissions" / "paddy_train.json").read_text())
    assert [member["name"] for member in provenance["members"]] == [NAME]
    assert "already here, nothing to do" in first.stdout

    before = state(place)
    assert stages_run(dvc(place, "repro")) == []
    assert state(place) == before

    sent = send_another(place)
    params = yaml.safe_load((place / "params.yaml").read_text())
    params["predict"]["tta"] = "none"
    (place / "params.yaml").write_text(yaml.safe_dump(params))
    assert stages_run(dvc(place, "repro")) == [f"predict@{NAME}", "ensemble"]
    after = state(place)
    assert after[f"{NAME}.pkl"] == before[f"{NAME}.pkl"]
    assert read_card(place / "models", NAME)["variant"]["tta"] == "none"
    assert list(read_probs(place / "models" / f"{NAME}.test.parquet")[0]) == ["plain"]
    (copy,) = (place / "submissions" / "sent").glob("*_paddy_train.csv")
    assert copy.read_bytes() == sent
    git = ["git", "status", "--porcelain", "--untracked-files=all", "submissions", "models"]
    status = subprocess.run(git, cwd=place, capture_output=True, text=True, check=True)
    names = [line.split("/")[-1] for line in status.stdout.splitlines()]
    assert names == [copy.name, copy.with_suffix(".json").name]
