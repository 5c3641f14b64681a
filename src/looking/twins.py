"""The same leaf twice, among the nearest by thumbnail and corners: docs/looking.md has figures."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from scipy import sparse
from tqdm.contrib.concurrent import thread_map

from src import competition
from src.competition import some
from src.core import UserError, cores, load_params, models_dir
from src.looking.page import picture, write_page

KINDS = {"identical": "identical files", "picture": "same picture", "leaf": "same leaf or scene"}
SIDE = 640  # of the pictures whose corners are compared, in pixels
NEAREST = 12  # candidates of an image, by thumbnail and by corners
DRAWS, BITS = 8, 24  # of an ORB descriptor's 256 bits, that say which corners look alike
OFTEN = 50  # images; what so many have in common says nothing of two of them
BLOCK = 256  # images that are compared with all others at once
SAME = 0.995  # correlation of 16 x 16 thumbnails: of copies 0.9997 or more, of others below 0.983
INLIERS, SOME = 22, 8  # corners that lie as in the other picture; of every other one, to go on
FAR = 3  # pixels from where they should be
SHOWN = 200  # pairs on the page
ABOUT = ("Different labels", "In different folds", "A training and a test photograph", "Others")


class Look(NamedTuple):
    """What is compared of a picture; eight ways are four quarter turns, and these mirrored."""

    thumbs: np.ndarray  # (ways, 256), of mean 0 and length 1: a product is a correlation
    places: np.ndarray  # (corners, 2)
    corners: np.ndarray | None  # (corners, 32), their descriptors


def look(path: Path) -> Look:
    """`path` decoded, upright and grey, and what is compared of it."""
    with Image.open(path) as opened:
        image = competition.to_rgb(ImageOps.exif_transpose(opened)).convert("L")
    image.thumbnail((SIDE, SIDE))
    small = cv2.resize(grey := np.asarray(image), (64, 64), interpolation=cv2.INTER_AREA)
    ways = [np.rot90(side, turns).astype(np.float32, order="C")
            for side in (small, small[:, ::-1]) for turns in range(4)]
    thumbs = [cv2.resize(way, (16, 16), interpolation=cv2.INTER_AREA).ravel() for way in ways]
    thumbs = np.stack(thumbs) - np.mean(thumbs[0])
    # At the usual threshold of 20 smooth leaves on paper have too few.
    orb = cv2.ORB.create(400, fastThreshold=7)
    found, corners = orb.detectAndCompute(grey, None) if min(grey.shape) > 8 else ((), None)
    length = np.linalg.norm(thumbs[0]) + 1e-6  # 0 if it is of one colour
    return Look(thumbs / length, cv2.KeyPoint.convert(found), corners)


def candidates(looks: Sequence[Look]) -> set[tuple[int, int]]:
    """Each image with those whose thumbnail, and those whose corners, are most like its own."""
    pairs: set[tuple[int, int]] = set()
    for alike in (by_thumbnail(looks), by_corners(looks)):
        for start, rows in zip(range(0, len(looks), BLOCK), alike, strict=True):
            rows[np.arange(len(rows)), start + np.arange(len(rows))] = 0  # itself
            nearest = np.argpartition(-rows, min(NEAREST, len(looks)) - 1)[:, :NEAREST]
            pairs |= {(min(start + row, other), max(start + row, other))
                      for row, others in enumerate(nearest.tolist()) for other in others
                      if rows[row, other] > 0}
    return pairs


def by_thumbnail(looks: Sequence[Look]) -> Iterator[np.ndarray]:
    """How alike thumbnails are in the best way, (block of images, images): their correlation."""
    ways = np.stack([one.thumbs for one in looks], axis=1)
    for start in range(0, len(looks), BLOCK):
        alike = ways[0, start : start + BLOCK] @ ways[0].T
        for way in ways[1:]:
            np.maximum(alike, ways[0, start : start + BLOCK] @ way.T, out=alike)
        yield alike


def by_corners(looks: Sequence[Look]) -> Iterator[np.ndarray]:
    """How many corners look alike, rare ones for more, (block of images, images).

    Two corners do if all bits of one draw are equal: locality-sensitive hashing (Indyk and Motwani
    1998), with the weights of a bag of words (Sivic and Zisserman 2003).
    """
    described = [np.empty((0, 32), np.uint8) if one.corners is None else one.corners
                 for one in looks]
    image, corners = np.repeat(np.arange(len(looks)), [*map(len, described)]), np.vstack(described)
    random, draws = np.random.default_rng(0), []
    for _ in range(DRAWS):
        word = np.zeros(len(corners), np.int32)
        for bit in random.choice(256, BITS, replace=False):
            word = word << 1 | corners[:, bit // 8] >> bit % 8 & 1
        draws.append(_shared(image, word, len(looks)))
    del image, corners, described, word  # 0.3 GB of 10,000 images
    length = 1e-6 + np.sqrt(sum(draw.power(2).sum(axis=1) for draw in draws))
    for start in range(0, len(looks), BLOCK):
        block = slice(start, start + BLOCK)
        yield sum((draw @ draw[block].T).toarray().T for draw in draws) / length


def _shared(image: np.ndarray, word: np.ndarray, images: int) -> sparse.csr_array:
    """The weight of each word that some images share, but not many: (images, words)."""
    both = np.unique(image << BITS | word)
    _, word, count = np.unique((both & (1 << BITS) - 1).astype(np.int32), return_inverse=True,
                               return_counts=True)
    known = np.flatnonzero(((count > 1) & (count <= OFTEN))[word])
    image, word = (both[known] >> BITS).astype(np.int32), word[known].astype(np.int32)
    weights = np.log(images / count).astype(np.float32)[word]
    return sparse.csr_array((weights, (image, word)), (images, len(count)))


def judge(one: Look, other: Look) -> tuple[str, int]:
    """The kind of a pair, empty if it is none, and how many corners lie as in the other picture."""
    if (count := in_place(one, other, 2)) >= SOME:  # half of the corners refuses most pairs
        count = in_place(one, other)
    same = (other.thumbs @ one.thumbs[0]).max() >= SAME
    return "picture" if same else "leaf" if count >= INLIERS else "", count


def in_place(one: Look, other: Look, step: int = 1) -> int:
    """How many corners, each or every other, lie where one turn, zoom and shift puts them."""
    if one.corners is None or other.corners is None:
        return 0
    # Twice as fast as a BFMatcher with its cross-check, and as good: a corner has one partner.
    apart, nearest = cv2.batchDistance(one.corners[::step], other.corners, cv2.CV_32S,
                                       normType=cv2.NORM_HAMMING, K=1)
    order = np.argsort(apart.ravel(), kind="stable")
    partners, first = np.unique(nearest.ravel()[order], return_index=True)
    places, counts = (one.places[::step][order[first]], other.places[partners]), []
    for start, end in (places, places[::-1]):  # one way alone, all may fall on nearly one point
        inside = None if min(counts, default=len(start)) < SOME else cv2.estimateAffinePartial2D(
            start, end, ransacReprojThreshold=FAR, maxIters=500)[1]
        counts.append(0 if inside is None else int(inside.sum()))
    return min(counts)


def find_pairs(paths: pd.Series) -> pd.DataFrame:
    """The twins among `paths` (image_id → path), the columns of `competition.TWIN_COLUMNS`."""
    bar = {"max_workers": cores(), "delay": 2, "disable": None, "unit": " images"}
    looks = thread_map(look, paths, desc="looking", **bar)
    numbers = pd.Index(paths).get_indexer
    same = [sorted(numbers(files).tolist()) for files in competition.identical_files(paths)]
    rows = [(one, other, "identical", judge(looks[one], looks[other])[1])
            for one, *others in same for other in others]
    own = sorted({*range(len(looks))} - {other for _, other, *_ in rows})
    waiting: dict[int, set[int]] = {number: set() for number in own}
    for one, other in candidates([looks[number] for number in own]) if own else ():
        waiting[own[one]].add(own[other])
    found = thread_map(lambda one: [(one, b, *judge(looks[one], looks[b])) for b in waiting[one]],
                       own, desc="comparing", **bar)
    rows += [row for judged in found for row in judged if row[2]]
    table, ids = pd.DataFrame(sorted(rows), columns=["a", "b", "kind", "inliers"]), paths.index
    table = table.assign(a=ids[table.a.astype(int)], b=ids[table.b.astype(int)])
    return table.assign(group=competition.groups_of(table))[competition.TWIN_COLUMNS]


def described(pairs: pd.DataFrame, folder: Path, folds: pd.Series) -> pd.DataFrame:
    """The `pairs` with `where_a`, `where_b` and `about`, a word of ABOUT, in that order."""
    labels = competition.train_table(folder).label
    (label_a, label_b), (fold_a, fold_b) = ([pairs[side].map(of) for side in "ab"]
                                            for of in (labels, folds))
    both = label_a.notna() & label_b.notna()
    rules = [both & (label_a != label_b), both & fold_a.notna() & (fold_a != fold_b),
             label_a.notna() ^ label_b.notna(), True]  # fmt: skip
    place = np.select([np.broadcast_to(rule, len(pairs)) for rule in rules], range(len(ABOUT)))
    text = labels + folds.map(", fold {}".format).reindex(labels.index).fillna("")
    where = {f"where_{side}": pairs[side].map(text).fillna("test") for side in "ab"}
    table = pairs.assign(**where, about=np.array(ABOUT)[place])
    return table.iloc[np.lexsort((pairs.kind.map([*KINDS].index), place))]


def write_review(pairs: pd.DataFrame, folder: Path, paths: pd.Series) -> list[str]:
    """Write the page of the first `SHOWN` of the described `pairs`; the sentences at its top."""
    counts = ", ".join(f"{(pairs.kind == kind).sum():,} {text}" for kind, text in KINDS.items())
    lines = [f"{len(pairs):,} pairs in {pairs.group.nunique():,} groups: {counts}"]
    known, shown = competition.identical_labels(folder)["test"], pairs.head(SHOWN)
    if len(known):
        lines += [f"test images with the bytes of a training image ({len(known):,}): "
                  f"{some(known.index + ' (' + known + ')', len(known))}; their known labels are "
                  "taken by python -m src.ensemble --twins identical"]
    names = pd.unique(shown[["a", "b"]].to_numpy().ravel())
    write_page(competition.twins_path().with_suffix(".html"), "twins.html",
               title="The same leaf twice", lines=lines, count=len(pairs), inliers=INLIERS,
               sections=[*shown.groupby("about", sort=False)], totals=pairs.about.value_counts(),
               pictures={name: picture(paths[name], 240) for name in names}, kinds=KINDS)
    return lines


def twins_command(words: list[str]) -> None:
    """Find pairs of images that show the same leaf, write their table and page."""
    about = twins_command.__doc__
    argparse.ArgumentParser("python -m src.review twins", description=about).parse_args(words)
    folder = competition.find()
    paths = pd.concat([competition.train_paths(folder), pd.Series(competition.test_paths(folder))])
    if len(twice := paths.index[paths.index.duplicated()]):
        raise UserError(f"training and test images share names ({some(twice, 4)})",
                        "a table of twins needs one name for each image")
    competition.require_images(paths)
    competition.write_twins(folder, pairs := find_pairs(paths))
    where = folder, load_params()["train"]["seed"], models_dir()
    saved = competition.folds_path(*where, "stratified").exists()  # it is not made for this
    folds = competition.get_folds(*where) if saved else pd.Series(dtype=object)
    print(*write_review(described(pairs, folder, folds), folder, paths),
          f"written: {competition.twins_path()}, and twins.html beside it",
          "to have each leaf in one fold: -p split twins, or split: twins in a row", sep="\n")
