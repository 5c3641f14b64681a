"""A training that Kaggle's session cut is continued by the next push."""

import json

import pytest
from small_bundles import refused

from src.core import make_variant
from src.kaggle_api.kernel import limited
from src.kaggle_api.push import is_cut
from tests.kaggle_kernels import ONE, trained
from tests.kaggle_user import run

HIDDEN = f"models/.{ONE}.checkpoint"
FIRST = f"planted-user/paddy-{ONE.replace('_', '-')}"


def training(epochs):
    return {"epochs": epochs, "planned": 13}


def sources(kaggle):
    """Each pushed kernel with the kernels whose output was attached to it."""
    requests = [body for *_, body in kaggle.called("SaveKernel")]
    return [(body["slug"], body.get("kernelDataSources", [])) for body in requests]


def in_turn(kaggle, *runs):
    """Let Kaggle play `runs`, one a push: the last state, and what makes the files."""
    waiting = list(runs)

    def play(request):
        state, files = waiting.pop(0)
        kaggle.kernel_states[:] = [state]
        return files(request)

    kaggle.run_kernel = play


@pytest.mark.parametrize("own, given", [(0, 660), (90, 90), (5000, 660)])
def test_a_pushed_training_ends_before_the_session_does(own, given):
    variant = make_variant(time_limit=own)
    assert limited(variant).recipe == {**variant.recipe, "time_limit": given}
    card = {"training": training(7)}
    assert is_cut(variant, card) is (own != given)
    assert not is_cut(variant, {"training": training(13)})


def test_epochs_that_a_session_had_no_time_for_are_trained_by_the_next_push(kaggle, tmp_path):
    in_turn(
        kaggle,
        ("COMPLETE", lambda r: trained(tmp_path, r, training=training(7)) | {HIDDEN: b"7"}),
        ("COMPLETE", lambda r: trained(tmp_path, r, training=training(13))),
    )
    cut, done, again = (run(kaggle, tmp_path, f"push {ONE}") for _ in range(3))
    assert "ended after epoch 7 of 13" in cut.stdout and cut.returncode == 0
    assert f"continues {FIRST} after epoch 7 of 13" in done.stdout and done.returncode == 0
    assert sources(kaggle) == [(FIRST, []), (f"{FIRST}-part-2", [FIRST])]
    assert "finished already" in again.stdout
    models = tmp_path / "work" / "models"
    assert json.loads((models / f"{ONE}.json").read_text())["training"] == training(13)
    assert not list(models.glob(".*"))  # the checkpoint is left to Kaggle


def test_a_checkpoint_is_used_until_there_is_a_later_one(kaggle, tmp_path):
    def deleted(_):
        del kaggle.kernels[FIRST]
        return {}

    in_turn(
        kaggle,
        ("ERROR", lambda _: {HIDDEN: b"1"}),
        ("CANCEL_ACKNOWLEDGED", lambda _: {}),  # with no output
        ("ERROR", deleted),
        ("COMPLETE", lambda request: trained(tmp_path, request)),
    )
    *failed, done = (run(kaggle, tmp_path, f"push {ONE}") for _ in range(4))
    assert all("push it again to continue" in refused(one) for one in failed)
    assert sources(kaggle)[1:] == [(f"{FIRST}-part-2", [FIRST])] * 3
    assert f"begins anew, {FIRST} cannot be attached" in done.stdout and done.returncode == 0
