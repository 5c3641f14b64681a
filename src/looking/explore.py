"""What is in a competition's photographs: tables, sentences and figures of paddy_explore.ipynb."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from sklearn import model_selection
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from tqdm.contrib.concurrent import thread_map

from src import bundle, competition, core
from src.evidence import INTERVAL, new_figure, wilson
from src.looking.page import splits_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARAMETERS = ("data", "models", "notebook")
LIGHT = ["brightness", "contrast", "saturation", "sharpness", "KB"]
LARGEST = 100e6  # bytes of a model that needs minutes, not hours, on two cores
EACH, LISTED = 6, 8  # pictures in a row; sizes in a table
PARTS, SHUFFLES = 5, 20  # folds, and shuffles of the splits' names


class Photographs(NamedTuple):
    """The photographs of a competition; all below `table` by split and image_id."""

    folder: Path
    table: pd.DataFrame  # of the training images: label; variety and age if known
    paths: pd.Series
    raw: pd.DataFrame  # sha256, size and statistics
    features: dict[str, pd.DataFrame]  # name → raw, or a backbone's, with sha256


def open_photographs(data: str = "", models: str = "") -> Photographs:
    """Read every photograph, and those that a finished model has not learnt by its backbone."""
    folder, place = competition.find(data), core.models_dir(models)
    mark, table = competition.train_fingerprint(folder), competition.train_table(folder)
    train, test = competition.train_paths(folder), pd.Series(competition.test_paths(folder))
    paths = pd.concat({"train": train, "test": test}, names=["split", "image_id"])
    raw = _cached("statistics", paths, lambda p: _mapped(_statistics, p))
    found = {"light and colour": raw}
    fits = [card for card in bundle.read_cards(place)[0].values() if card["data"] == mark
            and card["holdout"]["images"] and card["bytes"] <= LARGEST]
    for card in sorted(fits, key=lambda card: card["bytes"])[:1]:
        held = bundle.read_predictions(place, card, "valid")["plain"].index
        unseen = paths.drop([("train", image) for image in train.index.difference(held)])
        found[f"backbone of {card['name']}"] = _cached(
            card["sha256"], unseen, lambda p, card=card: _mapped(_backbone(place, card), p))
    return Photographs(folder, table, paths, raw, found)


def _cached(kind: str, paths: pd.Series, find: Callable[[pd.Series], list]) -> pd.DataFrame:
    """What `find` finds, image by image, with its sha256; a file known is not opened again."""
    file = core.cache_dir() / f"explore_{kind[:12]}.parquet"
    digests = pd.Series(_mapped(core.sha256, paths), paths.index, dtype=object)
    known = pd.read_parquet(file) if file.is_file() else pd.DataFrame()
    if len(todo := paths[~digests.isin(known.index) & ~digests.duplicated()]):
        new = pd.DataFrame(find(todo), digests[todo.index].to_numpy()).rename(columns=str)
        known = pd.concat([known, new])
        with core.atomic_path(file) as temporary:
            known.to_parquet(temporary)
    return known.loc[digests].set_axis(paths.index).assign(sha256=digests)


def _mapped(function: Callable, paths: pd.Series) -> list:
    return thread_map(function, list(paths), max_workers=core.cores(), delay=2, unit=" images",
                      desc="look", file=core.terminal())


def _statistics(path: Path) -> dict[str, float]:
    """Size, light and camera of a photograph, and its colours on a grid of 4 × 4."""
    from src import vision

    pixels = np.asarray(vision.open_image(path))
    grey, hsv = (cv2.cvtColor(pixels, code) for code in (cv2.COLOR_RGB2GRAY, cv2.COLOR_RGB2HSV))
    light = [grey.mean() / 255, grey.std() / 255, hsv[..., 1].mean() / 255,
             np.log1p(cv2.Laplacian(grey, cv2.CV_32F).var()), path.stat().st_size / 1000]
    grid = cv2.resize(pixels, (4, 4), interpolation=cv2.INTER_AREA).ravel() / 255
    return dict(zip(["height", "width", *LIGHT, *map(str, range(48))],
                    map(float, [*pixels.shape[:2], *light, *grid]), strict=True))


def _backbone(models: Path, card: Mapping[str, Any]) -> Callable[[Path], np.ndarray]:
    """What the backbone of a finished model makes of the plain view of a photograph."""
    import torch

    from src import vision

    variant, learn = core.make_variant(**card["variant"]), bundle.load(models, card["name"])
    body, frame, resize = learn.model[0].model, vision.frame_of(variant), vision.item_tfms(variant)
    device = next(body.eval().parameters()).device
    torch.set_num_threads(1)  # every core has a photograph of its own already
    mean, std = (torch.tensor(s, device=device)[:, None, None] for s in vision.stats(variant.arch))

    @torch.inference_mode()
    def _of_one(path: Path) -> np.ndarray:
        view = vision.plain_view(resize(vision.open_image(path), split_idx=1), frame).to(device)
        return body(((view - mean) / std)[None])[0].float().cpu().numpy()

    return _of_one


def _share(count: int, images: int) -> str:
    share, low, high = (100 * x for x in (count / images, *wilson(count, images)))
    return f"{count:,} of {images:,}: {share:.2f} % ({INTERVAL} {low:.2f} to {high:.2f})"


def class_table(photographs: Photographs) -> pd.DataFrame:
    """How many training images each class has, most first."""
    counts = photographs.table.label.value_counts()
    cells = [_share(count, counts.sum()) for count in counts]
    return pd.DataFrame({"class": counts.index, "training images": cells})


def size_table(photographs: Photographs) -> pd.DataFrame:
    """Width × height of the photographs, upright: how many of each split."""
    raw = photographs.raw
    sizes = raw.width.map("{:.0f} × ".format) + raw.height.map("{:.0f}".format)
    sizes = sizes.where(sizes.isin(sizes.value_counts().index[:LISTED]), "other")
    way = np.sign(raw.width - raw.height).map({-1: "portrait", 0: "square", 1: "landscape"})
    counts = pd.crosstab([sizes.rename("width × height"), way.rename("orientation")],
                         raw.index.get_level_values("split").rename("split"))
    return counts.sort_values(list(counts), ascending=False).reset_index()


def light_table(photographs: Photographs) -> pd.DataFrame:
    """Light and camera: the median, and the middle 90 %, of test, of training, of each class."""
    test, train = (photographs.raw.loc[split, LIGHT] for split in ("test", "train"))
    groups = {"test": test, "training": train, **dict(iter(train.groupby(photographs.table.label)))}
    return pd.DataFrame({"images": name, "number": f"{len(group):,}"} | {
        column: "{1:.2f} ({0:.2f} to {2:.2f})".format(*group[column].quantile([0.05, 0.5, 0.95]))
        for column in LIGHT} for name, group in groups.items())


def _pictures(rows: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Rows of pictures: title → caption → image or path."""
    from src import vision

    wide = max(map(len, rows.values()))
    fig, axes = new_figure(1.7 * wide, 2.4 * len(rows), nrows=len(rows), ncols=wide, squeeze=False)
    for row, (title, shown) in zip(axes, rows.items(), strict=True):
        row[0].set_title(title, loc="left", fontsize=10, parse_math=False)
        for ax, (caption, image) in zip(row, shown.items(), strict=False):
            ax.imshow(vision.open_image(image) if isinstance(image, Path) else image)
            ax.text(0.5, -0.02, caption, transform=ax.transAxes, ha="center", va="top", fontsize=7,
                    parse_math=False)
    for ax in axes.flat:
        ax.axis("off")
    return fig


def samples_plot(photographs: Photographs) -> "Figure":
    """Six training images of each class, the same each time."""
    groups = photographs.paths["train"].groupby(photographs.table.label)
    return _pictures({label: paths.sample(min(EACH, len(paths)), random_state=0).to_dict()
                      for label, paths in groups})


def resizes_plot(photographs: Photographs) -> "Figure":
    """A photograph as each way of resizing shows it to a model."""
    from src import vision

    square = photographs.raw.width == photographs.raw.height
    path = photographs.paths[square.idxmin()]  # the first that is oblong, if any is
    shown = {f"{path.name} as it is": (image := vision.open_image(path))}
    for way in core.CHOICES["resize"]:
        variant = core.make_variant(resize=way, item_size="320x240" if way == "rect" else 240)
        shown[f"{way} {variant.item_size}"] = vision.item_tfms(variant)(image, split_idx=1)
    return _pictures({"": shown})


def ages_table(photographs: Photographs) -> pd.DataFrame:
    """Training images by variety and age; nothing where these are not known."""
    if not {"variety", "age"} <= {*(table := photographs.table)}:
        return pd.DataFrame()
    return pd.crosstab(table.variety, table.age, margins=True, margins_name="all").reset_index()


def metadata_sentence(photographs: Photographs) -> str:
    """How often variety and age alone name the label of images not learnt from, and of learnt."""
    table, truth = photographs.table, photographs.table.label
    if not (columns := [name for name in core.load_facts().other if table[name].nunique() > 1]):
        return "no variety or age that differs between images: nothing to predict labels from"
    group = table.groupby(columns).ngroup().to_frame()
    parts = model_selection.KFold(PARTS, shuffle=True, random_state=0)
    model = DecisionTreeClassifier(random_state=0)
    folds = model_selection.cross_val_predict(model, group, truth, cv=parts)
    right = {"cross-validated": folds == truth,
             "in-sample": model.fit(group, truth).predict(group) == truth,
             "the most frequent class": truth == truth.mode()[0]}
    return "\n".join([f"right by {' and '.join(columns)} alone, {group[0].nunique():,} groups:",
                      *(f"{how}: {_share(n.sum(), len(n))}" for how, n in right.items())])


def twins_sentence(photographs: Photographs) -> str:
    """Groups of identical files, and the pairs that `python -m src.review twins` found."""
    files = photographs.raw.sha256.reset_index()
    files["label"] = files.image_id.map(photographs.table.label)
    same = files[files.sha256.duplicated(keep=False)].groupby("sha256").nunique()
    try:
        kinds = competition.read_twins(photographs.folder).kind.value_counts()
        other = f"pairs of twins: {', '.join(f'{n:,} {kind}' for kind, n in kinds.items()) or 0}"
    except core.UserError as error:
        other = f"twins that are not identical: {error}"
    return (f"identical files: {len(same):,} groups, {(same.split == 2).sum():,} across training "
            f"and test, {(same.label > 1).sum():,} with different labels\n{other}")


def compare_splits(photographs: Photographs) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """How a classifier separates test from training, beside shuffles; each image's test score."""
    rows, scores = [], {}
    for name, frame in photographs.features.items():
        test = frame.index.get_level_values("split") == "test"
        if min(test.sum(), (~test).sum()) < 2 * PARTS:
            continue
        values = StandardScaler().fit_transform(frame.drop(columns="sha256"))
        values = PCA(min(50, *values.shape), random_state=0).fit_transform(values)
        how = {"estimator": LogisticRegression(C=0.01, max_iter=1000), "X": values, "y": test,
               "cv": model_selection.StratifiedKFold(PARTS, shuffle=True, random_state=0)}
        auc, shuffled, _ = model_selection.permutation_test_score(
            **how, scoring="roc_auc", n_permutations=SHUFFLES, random_state=0)
        found = model_selection.cross_val_predict(**how, method="predict_proba")[:, 1]
        scores[name] = pd.Series(found, frame.index)
        rows.append([name, f"{(~test).sum():,}", f"{test.sum():,}", f"{auc:.2f}",
                     f"{min(shuffled):.2f} … {max(shuffled):.2f}",
                     "they differ" if auc > max(shuffled) else "no evidence that they differ"])
    kinds = ["features", "training images", "test images", "AUC", f"{SHUFFLES} shuffles", "finding"]
    table = pd.DataFrame(rows, columns=kinds)
    core.write_text(splits_path(photographs.folder), table.to_csv(index=False))
    return table, scores


def surest_plot(photographs: Photographs, scores: Mapping[str, pd.Series]) -> "Figure | None":
    """The images that a classifier is surest about, by the last kind of features."""
    if not scores:
        return None
    score = list(scores.values())[-1]
    surest = {"train": score["train"].nsmallest(EACH), "test": score["test"].nlargest(EACH)}
    return _pictures({f"surest of {split}": {f"{i}\n{p:.2f}": photographs.paths[split, i]
                                             for i, p in s.items()} for split, s in surest.items()})
