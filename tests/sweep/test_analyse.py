"""What paddy_analyse.ipynb shows: right numbers, figures that can be read, or "too few"."""

import pandas as pd
import pytest
from conftest import ROOT, refusal, run
from drawn_texts import overlapping, texts
from executed import html_of, last_line, pictures, run_without_error, text_of
from papermill import inspect_notebook

from src import bundle
from src.core import make_variant, write_json
from src.submission import sent
from src.sweep import analyse
from src.sweep.analyse.tables import order_of_epochs

ANALYSE = ROOT / "notebooks" / "paddy_analyse.ipynb"
PLOTS = (analyse.time_plot, analyse.memory_plot, analyse.recipe_plot, analyse.epochs_plot,
         analyse.leaderboard_plot)  # fmt: skip
SENTENCES = (analyse.repeats_sentence, analyse.shortlist_sentence, analyse.epochs_sentence,
             analyse.leaderboard_sentence)  # fmt: skip


def card_in(models, wrong, minutes=10, gb=4, epochs=3, family="vit", **changes):
    """The card of a run that held out 1,000 images, of which its first epoch had twice as many."""
    variant = make_variant(**{"arch": "vit_small"} | changes)
    models.mkdir(parents=True, exist_ok=True)
    bundle.pkl_path(models, variant.name).write_bytes(b"")
    held = bundle.holdout_counts(1000, wrong, wrong)
    curve = [{"train_loss": 1.0, "valid_loss": 1.0, "seconds": 60 * minutes / epochs,
              "wrong": wrong * (epochs - number)} for number in range(epochs)]
    write_json(bundle.card_path(models, variant.name), {
        "name": variant.name, "family": family, "variant": variant.recipe, "classes": [],
        "notebook": "paddy_train", "commit": "", "data": "d", "held_out": f"h{variant.seed}",
        "sha256": "", "bytes": 0, "versions": {}, "holdout": held, "epochs": curve,
        "seconds": 60 * minutes, "peak_memory_mb": 1024 * gb,
        "created": f"2026-02-{variant.seed % 28 + 1:02}T00:00:00+00:00",
    })  # fmt: skip
    return variant.name


def rows_in(models, count):
    """Runs of rows of several families and sizes, each slower and better than the last."""
    for number in range(count):
        family = ("vit", "convnext", "swin", "resnet")[number % 4]
        card_in(models, 100 - number % 60, 10 + number, 2 + number % 30, family=family,
                resize=("squish", "crop", "pad")[number % 3], size=32 + 16 * (number // 3),
                bs=16 if number % 2 else 32)  # fmt: skip


def ledger_of(*pairs):
    """Submissions with a hold-out error and so many public images right."""
    rows = [dict.fromkeys(sent.COLUMNS, "") | {"ref": str(n), "holdout_error": f"{error:.5f}",
            "public_right": str(right)} for n, (error, right) in enumerate(pairs)]
    sent.ledger_path().parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=sent.COLUMNS).to_csv(sent.ledger_path(), index=False)


@pytest.mark.parametrize("count", [0, 1, 3, 200])
def test_every_figure_can_be_read_with_any_number_of_runs(models, count):
    rows_in(models, count)
    ledger_of(*[(0.02 + n / 1000, 2540 - n) for n in range(min(count, 9))])
    record = analyse.open_record()
    for plot in PLOTS:
        assert overlapping(plot(record)) == ([], []), plot
    if count < 3:
        assert all("too few" in say(record) for say in SENTENCES)
    if not count:
        assert record.sentence.endswith("no run to show; train some: python -m src.sweep --all")
        shown = [texts(plot(record)) for plot in PLOTS]
        assert all(len(found) == 1 and "too few" in found[0][0] for found in shown)
        assert analyse.pivot_table(record).empty and analyse.shortlist(record).empty


def test_scatters_show_the_interval_of_each_row_and_name_what_their_dotted_lines_cost(models):
    for size, (wrong, minutes) in {32: (40, 10), 48: (25, 30), 64: (30, 5)}.items():
        card_in(models, wrong, minutes, gb=minutes, size=size)
    record = analyse.open_record()
    for plot in (analyse.time_plot, analyse.memory_plot):
        (bars,) = plot(record).axes[0].collections
        found = {tuple(bar[0, [0]]) + tuple(bar[:, 1].round(1)) for bar in bars.get_segments()}
        assert found == {(10, 29.5, 54.0), (30, 17.0, 36.6), (5, 21.1, 42.5)}
    (ax,) = analyse.time_plot(record).axes
    # the least, the middle and the most of error × seconds: 0.03 × 380, 0.04 × 680, 0.025 × 1,880
    assert [label.get_text() for label in ax.texts] == ["11.4", "27.2", "47"]
    for label in ax.texts:
        minutes, wrong = label.xy
        assert wrong / 1000 * (60 * minutes + 80) == pytest.approx(float(label.get_text()))


def test_the_pivot_has_the_mean_of_the_runs_and_the_interval_of_one(models):
    for seed, wrong in ((42, 20), (43, 30)):
        card_in(models, wrong, seed=seed)
    card_in(models, 40, resize="pad", item_size=640)
    (row,) = analyse.pivot_table(analyse.open_record()).to_dict("records")
    assert row == {"family": "vit", "size": 224, "pad": "40 of 1,000 wrong: 4.00 % (2.95 to 5.40)",
                   "squish": "25 of 1,000 wrong: 2.50 % (1.70 to 3.66), 2 runs"}


def test_spread_and_correlation_are_those_of_runs_on_the_same_splits(models):
    for seed, wrong in enumerate((20, 24, 28), 42):
        card_in(models / "compare", wrong, seed=seed)
        card_in(models, 2 * wrong, seed=seed, resize="crop")
    said = analyse.repeats_sentence(analyse.open_record())
    assert said.startswith("2 rows have 3 runs or more") and said.endswith("1.00, in the mean")
    assert "is 6.3 images, where other images alone make it 5.9" in said  # 4 and 8


def test_shortlists_are_below_both_medians_or_fit_the_memory(models):
    sizes = {}
    for size, (wrong, minutes, gb) in {32: (50, 5, 20), 48: (20, 90, 8), 64: (30, 20, 17),
                                       80: (90, 20, 3), 96: (25, 20, 12)}.items():
        sizes[card_in(models, wrong, minutes, gb, size=size)] = size
    record = analyse.open_record()
    assert [sizes[name] for name in analyse.shortlist(record)["row"]] == [96, 64]
    assert [sizes[name] for name in analyse.shortlist(record, 16)["row"]] == [48, 96, 80]
    assert analyse.shortlist_sentence(record, 16) == "in 16 GB: 3 of 5 rows"


def test_epochs_are_ranked_among_runs_of_one_hold_out(models, monkeypatch):
    for number in range(5):
        name = card_in(models, 20 + number, size=32 + 16 * number)
        card = bundle.read_card(models, name)
        card["epochs"][0]["wrong"] = 200 - number  # the wrong way round
        write_json(bundle.card_path(models, name), card)
    card_in(models, 1, seed=43)  # on another
    record = analyse.open_record()
    corr, runs = order_of_epochs(record)
    assert runs == 5 and corr.to_dict() == pytest.approx({1: -1, 2: 1, 3: 1})
    assert analyse.epochs_sentence(record).endswith(
        "is -1.00 after epoch 1 of 3; from epoch 2 on it is 0.9 or more")
    corr[2] = corr[3] = 1 - 0.1 - 2**-52  # 0.9 by other sums
    monkeypatch.setattr("src.sweep.analyse.tables.order_of_epochs", lambda _: (corr, runs))
    assert "from epoch 2 on it is 0.9" in analyse.epochs_sentence(record)


def test_the_leaderboard_is_compared_in_images(models):
    ledger_of((0.01, 2571), (0.02, 2545), (0.03, 2519))  # 30, 56, 82 wrong; 26, 52, 78 expected
    said = analyse.leaderboard_sentence(analyse.open_record())
    assert said.startswith("3 submissions: ") and "have +4.0 more wrong than expected" in said


def test_runs_are_chosen_by_family_and_day_and_mistakes_are_named(models):
    card_in(models, 20)
    card_in(models, 30, seed=50, family="swin")
    assert len(analyse.open_record(family="vit").runs) == 1
    assert list(analyse.open_record(since="2026-02-20").runs.family) == ["swin"]
    assert "did you mean 'swin'" in refusal(analyse.open_record, family="swim")
    assert "write 2026-12-31" in refusal(analyse.open_record, since="yesterday")


def test_older_cards_are_shown_without_what_they_lack(family):
    record = analyse.open_record()
    assert len(record.runs) == 3 and record.epochs.empty
    assert [bool(texts(plot(record))) for plot in PLOTS] == [True] * 5


# the notebook


def executed(work, *words):
    copy = work / "analyse.ipynb"
    return copy, run("-m", "papermill", str(ANALYSE), str(copy), *words, PADDY_WORK=str(work))


def test_its_parameters_are_those_of_the_analysis():
    assert tuple(inspect_notebook(str(ANALYSE))) == analyse.PARAMETERS


def test_real_runs_are_shown_with_tables_figures_and_sentences(trained_once, tmp_path):
    models = str(trained_once / "models")
    copy, done = executed(tmp_path, "-p", "models", models)
    assert done.returncode == 0, done.stderr[-3000:]
    run_without_error(copy)
    assert "runs in " in text_of(copy, "open_record") and "rows: 2" in text_of(copy, "open_record")
    assert html_of(copy, "pivot_table").count("of 6 wrong") == 2
    for plot in PLOTS:
        (size,) = pictures(copy, f"{plot.__name__}(")
        assert size > 2_000
    assert "too few" in text_of(copy, "time_plot") and "too few" in text_of(copy, "epochs_plot")
    assert not (tmp_path / "record.sqlite").exists()


def test_misspelt_parameter_is_one_line(tmp_path):
    _, done = executed(tmp_path, "-p", "famly", "vit")
    assert last_line(done) == "error: unknown parameter 'famly'; did you mean 'family'?"
