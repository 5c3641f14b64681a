"""The README's commands for the demo do what it says, typed one after the other."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, run

from src.core import load_variants

README = (ROOT / "README.md").read_text(encoding="utf-8")
ROW = "tf_efficientnet_lite0_squish_96"


def blocks() -> list[str]:
    """The fenced blocks of commands."""
    return re.findall(r"^```\n(.*?)^```$", README, re.M | re.S)


def demo_commands() -> list[str]:
    """The lines of the block that goes to the demo and comes back."""
    (block,) = [block for block in blocks() if "export PADDY_WORK" in block]
    return block.splitlines()


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> tuple[Path, dict[str, subprocess.CompletedProcess]]:
    """A repository beside a small demo, and what each line of the block prints there."""
    place = tmp_path_factory.mktemp("clone")
    for name in ("src", "notebooks", "params.yaml"):
        (place / name).symlink_to(ROOT / name)
    (place / ".venv" / "bin").mkdir(parents=True)
    (place / ".venv" / "bin" / "activate").write_text(f"PATH={Path(sys.executable).parent}:$PATH\n")
    assert run("-m", "src.demo", str(place / "demo" / "data"), "--images", "60").returncode == 0
    typed, done = "", {}
    for line in demo_commands():
        script = f"{typed}{line}\n"
        if line.split()[0] in ("source", "export", "unset"):
            typed = script
            continue
        words = ["bash", "-ec", script]
        done[line] = subprocess.run(words, cwd=place, capture_output=True, text=True)
    return place, done


def test_every_command_for_the_demo_succeeds_and_makes_what_readme_says(walked):
    place, done = walked
    assert {line: d.stderr[-500:] for line, d in done.items() if d.returncode} == {}
    assert len(done) >= 6
    models = {path.name for path in place.glob("demo/models/*.pkl")}
    assert models == {f"{ROW}.pkl", "test_resnet_squish_64.pkl"}
    for name in ("paddy_train", "paddy_ensemble"):
        assert len(pd.read_csv(place / "demo" / "submissions" / f"{name}.csv")) == 20
    assert "kaggle competitions submit" not in "".join(d.stdout for d in done.values())


def test_the_second_camera_is_drawn_and_measured_as_readme_says(walked):
    place, _ = walked
    ((draw, measure),) = [block.splitlines() for block in blocks() if "--shift" in block]
    script = f"source .venv/bin/activate\n{draw} --images 60\n{measure}\n"  # as the demo here has
    done = subprocess.run(["bash", "-ec", script], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, errors = done.stdout.split("test images, by solution.csv:")
    assert all(name in errors for name in (ROW, "test_resnet_squish_64", "ensemble"))
    assert len(pd.read_csv(place / "demo" / "submissions" / "shifted.csv")) == 20


def test_the_rows_that_readme_names_stand_in_params_yaml():
    lines = [line.partition("#")[0] for block in blocks() for line in block.splitlines()]
    typed = [line.split() for line in lines if line.startswith("python -m src.run ")]
    named = {word for words in typed for word in words[3:]}
    assert named and named <= set(load_variants())
