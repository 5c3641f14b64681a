"""Corrections change what is trained on, and nothing else; wrong ones are refused in one line."""

import pytest
from conftest import ROOT, refusal
from small_training import exported, interrupted, loaders, tiny

from src import bundle, competition
from src.competition import corrections, digests, read_corrections
from src.core import UserError
from src.training import start

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def write(tmp_path):
    """Field and lines → the path of its CSV."""
    def to(field: str, *lines: str) -> str:
        path = tmp_path / f"{field}.csv"
        header = {"exclude": "image_id", "relabel": "image_id,label"}[field]
        path.write_text("\n".join([header, *lines]) + "\n")
        return str(path)
    return to


def labels_of(dls, dataset) -> dict[str, str]:
    """image_id → label of the images of a dataset."""
    labels = [dls.vocab[int(label)] for label in dataset.tls[1]]
    return dict(zip([path.name for path in dataset.items], labels, strict=True))


def test_images_are_excluded_and_relabelled_in_training_only(competition_once, tmp_path, write):
    plain = loaders(competition_once, tmp_path, tiny())
    before, held_out = labels_of(plain, plain.train_ds), labels_of(plain, plain.valid_ds)
    (out, other, *_), (valid, wrong, *_) = before, held_out
    new = "disease_a" if before[other] != "disease_a" else "disease_b"
    variant = tiny(exclude=write("exclude", out, valid),
                   relabel=write("relabel", f"{other},{new}", f"{wrong},disease_a"))
    dls = loaders(competition_once, tmp_path, variant)
    wanted = {name: label for name, label in before.items() if name != out} | {other: new}
    assert labels_of(dls, dls.train_ds) == wanted
    assert labels_of(dls, dls.valid_ds) == held_out


def test_changed_corrections_are_another_recipe_for_a_checkpoint_and_for_a_card(
    competition_once, tmp_path, capsys, write
):
    variant = tiny(epochs=2, exclude=write("exclude", "100003.jpg"),
                   relabel=write("relabel", "100002.jpg,disease_a"))
    interrupted(competition_once, tmp_path, variant, 1)
    write("exclude", "100001.jpg")
    exported(competition_once, tmp_path, variant)
    assert f".{variant.name}.checkpoint: recipe, data, " in capsys.readouterr().err
    card = bundle.read_card(tmp_path, variant.name)
    assert card["corrections"] == digests(variant) and len(set(digests(variant).values())) == 2
    assert bundle.is_done(variant, tmp_path, card["data"])
    write("exclude", "100001.jpg", "100003.jpg")
    with pytest.raises(UserError, match="another recipe .corrections .* → "):
        bundle.is_done(variant, tmp_path, card["data"])


def test_digest_is_of_what_the_file_says(competition_once, write):
    variant = tiny(exclude=write("exclude", "1.jpg", "2.jpg"))
    first = digests(variant)
    write("exclude", "2.jpg", "1.jpg", "")
    assert digests(variant) == first
    write("exclude", "1.jpg", "3.jpg")
    assert digests(variant) != first
    assert digests(tiny()) == {} and read_corrections(tiny(), competition_once) == (set(), {})


@pytest.mark.parametrize(
    ("field", "lines", "message"),
    [
        ("exclude", ["100001.jpg", "7.jpg", "8.jpg"], "7.jpg, 8.jpg: no image of train.csv"),
        ("exclude", None, "no such file or directory; fix exclude"),
        ("relabel", ["7.jpg,disease_a"], "7.jpg: no image of train.csv"),
        ("relabel", ["100001.jpg,rust"], "rust: no class; those are disease_a, disease_b"),
        ("relabel", ["100001.jpg,disease_a", "100001.jpg,disease_b"], "100001.jpg: named twice"),
    ],
)
def test_wrong_corrections_are_refused_before_any_work(
    data, tmp_path, monkeypatch, write, field, lines, message
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "fresh"))
    path = str(tmp_path / "none.csv") if lines is None else write(field, *lines)
    line = refusal(start, tiny(**{field: path}), "", "", "paddy_train", False)
    assert message in line and path in line and field in line
    assert not (tmp_path / "fresh").exists()


def test_an_image_cannot_be_excluded_and_relabelled(competition_once, write):
    variant = tiny(exclude=write("exclude", "100001.jpg"),
                   relabel=write("relabel", "100001.jpg,disease_b"))
    assert "100001.jpg: excluded by" in refusal(read_corrections, variant, competition_once)


def test_a_path_is_relative_to_the_repository_from_everywhere(
    competition_once, tmp_path, write, monkeypatch
):
    monkeypatch.setattr(corrections, "ROOT", tmp_path)
    image = competition.train_table(competition_once).index[0]
    write("exclude", image)
    for place in (tmp_path, ROOT):
        monkeypatch.chdir(place)
        assert read_corrections(tiny(exclude="exclude.csv"), competition_once).exclude == {image}
