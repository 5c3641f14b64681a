"""The places of a machine: cards by nvidia-smi's numbers, left alone where others use them."""

import argparse
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import refusal

from src.core import make_variant
from src.sweep import Outcome, Place, Row, State, engines, places

CARDS = "0, GPU-aaaa\n1, GPU-bbbb\n2, GPU-cccc\n"


def args(**given: object) -> argparse.Namespace:
    return argparse.Namespace(**{"gpus": "", "cores": 1, "jobs_per_gpu": 1, "until": 0} | given)


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Call it with who uses which card: a machine of three cards, eight cores."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(engines, "cores", lambda: 8)
    engines.say.cache_clear()

    def write(users: str = "", code: int = 0, cards: str = CARDS) -> None:
        (tmp_path / "cards").write_text(cards)
        (tmp_path / "users").write_text(users)
        script = Path(tmp_path / "nvidia-smi")
        script.write_text(f"#!/bin/sh\ncase $1 in *=index*) cat {tmp_path}/cards;; "
                          f"*) cat {tmp_path}/users;; esac\nexit {code}\n")
        script.chmod(0o755)

    return write


def test_every_card_is_a_place_by_its_number(nvidia_smi):
    nvidia_smi()
    found = places(args())
    assert [place.name for place in found] == ["gpu 0", "gpu 1", "gpu 2"]
    assert found[2].env == {"CUDA_VISIBLE_DEVICES": "2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                            "OMP_NUM_THREADS": "2", "LOKY_MAX_CPU_COUNT": "2"}
    assert [place.name for place in places(args(gpus="2,0"))] == ["gpu 2", "gpu 0"]
    double = places(args(gpus="1", jobs_per_gpu=2))
    assert [place.name for place in double] == ["gpu 1", "gpu 1 (2)"]
    assert {place.env["CUDA_VISIBLE_DEVICES"] for place in double} == {"1"}


def test_a_card_that_somebody_uses_is_left_alone_and_that_is_said(nvidia_smi, capsys):
    nvidia_smi("GPU-bbbb, 4711\n")
    assert [place.name for place in places(args())] == ["gpu 0", "gpu 2"]
    assert capsys.readouterr().out == "gpu 1 is used by process 4711: left alone\n"
    line = refusal(places, args(gpus="1"))
    assert "no card is free" in line and "CUDA_VISIBLE_DEVICES= in front" in line


def test_a_race_waits_for_a_card_that_somebody_took(nvidia_smi, monkeypatch, capsys):
    nvidia_smi("GPU-aaaa, 4711\n")
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        nvidia_smi("" if len(pauses) == 3 else "GPU-aaaa, 4711\n")

    clock = SimpleNamespace(sleep=pause, monotonic=lambda: sum(pauses))
    monkeypatch.setattr(engines, "time", clock)  # not subprocess's, too
    assert [place.name for place in places(args(gpus="0", until=181))] == ["gpu 0"]
    assert pauses == [60] * 3
    assert capsys.readouterr().out.splitlines() == [
        "gpu 0 is used by process 4711: left alone", "no card is free: waiting for one"]
    pauses[:] = [181]
    nvidia_smi("GPU-aaaa, 4711\n")
    assert "no card is free" in refusal(places, args(gpus="0", until=181))


def test_a_driver_that_hangs_is_one_line_and_as_if_there_were_no_card(
    nvidia_smi, tmp_path, monkeypatch, capsys
):
    nvidia_smi()
    os.mkfifo(tmp_path / "never")  # nobody writes to it, so cat does not end
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nexec cat {tmp_path}/never\n")
    monkeypatch.setattr(engines, "SMI", 0.2)
    assert [place.name for place in places(args(cores=4))] == ["cpu 1", "cpu 2"]
    assert capsys.readouterr().out == (
        "nvidia-smi: no answer in 0.2 seconds, as if there were none\n")


def test_cards_that_are_visible_keep_their_own_names(nvidia_smi, monkeypatch):
    nvidia_smi("GPU-cccc, 1\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb,GPU-cc")
    (place,) = places(args())
    assert place.env["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb" and len(place.env) == 3
    assert refusal(places, args(gpus="0")) == "--gpus: no card 0; known: GPU-bbbb, GPU-cc"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0,-1,1")
    (place,) = places(args())
    assert place.env["CUDA_VISIBLE_DEVICES"] == "0" and "CUDA_DEVICE_ORDER" not in place.env
    assert "no card 1; known: 2, 0" in refusal(places, args(gpus="1"))


def test_without_a_card_a_place_is_so_many_cores(nvidia_smi, monkeypatch, capsys):
    nvidia_smi("driver mismatch\n", code=9)
    assert [place.name for place in places(args(cores=3))] == ["cpu 1", "cpu 2"]
    assert "nvidia-smi: " in capsys.readouterr().out
    nvidia_smi()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = places(args())
    assert len(found) == 8 and found[0].env == {
        "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}
    assert "--cores 9 are more than the 8 there are" in refusal(places, args(cores=9))
    assert "1 or more" in refusal(places, args(cores=0))


def test_no_row_starts_once_the_time_is_over(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(engines, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def work(row: Row, place: Place) -> Outcome:
        now[0] += 100
        return Outcome(row.name, place.name, State.DONE)

    rows = [Row(make_variant(arch="test_vit", desc=desc), tmp_path, tmp_path) for desc in "abc"]
    engine = engines.Engine(lambda: [Place("cpu 1", {})], work, lambda _: None)
    ended = engines.run(rows, engine, lambda _: None, end=150)
    assert [one.state for one in ended] == [State.DONE, State.DONE, State.WAITING]
