"""Draw the demo competition in the layout that params.yaml describes, from a seed and nothing else.

The test set is a third as large; `solution.csv`, beside the sample, holds its answers.
"""

import json
import os
import shutil
import signal
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from src import core
from src.core import UserError, load_facts
from src.demo.camera import second_photograph
from src.demo.leaves import photograph

VERSION = 1  # of the drawing: other pictures from the same seed need another number
SHARES = {
    "normal": 0.170, "blast": 0.167, "hispa": 0.153, "dead_heart": 0.139, "tungro": 0.104,
    "brown_spot": 0.093, "downy_mildew": 0.060, "bacterial_leaf_blight": 0.046,
    "bacterial_leaf_streak": 0.036, "bacterial_panicle_blight": 0.032,
}  # fmt: skip
FIELDS = {  # variety → share of the photographs, ages in days
    "ADT45": (0.67, (45, 50, 55, 60, 65, 67, 70, 72, 75)),
    "KarnatakaPonni": (0.10, (50, 70, 75)),
    "Ponni": (0.06, (47, 55, 60, 80)),
    "AtchayaPonni": (0.05, (45, 57, 65)),
    "Zonal": (0.04, (55, 70)),
    "AndraPonni": (0.04, (45, 65)),
    "Onthanel": (0.03, (50, 70)),
    "IR20": (0.01, (50, 70)),
}
LEAST = 30  # below it the test set cannot hold all ten labels


def draw(folder: Path, images: int = 600, seed: int = 0, shift: bool = False) -> bool:
    """Draw `images` training photographs and a third as many for the test into a new `folder`.

    With `shift` the same test leaves are photographed by the second camera; all else is the same.
    Returns False when they are already there. The folder appears when it is complete; a killed
    drawing stays beside it as .<folder>.<…>.part and is continued by the next call.
    """
    if images < LEAST or seed < 0:
        raise UserError(f"a demo needs --images {LEAST} or more and --seed 0 or more")
    folder = Path(folder).expanduser().resolve()
    marker = {"images": images, "seed": seed, "tests": images // 3, "version": VERSION}
    marker |= {"shift": True} if shift else {}  # demos from before there was a shift have none
    if _is_there(folder, marker):
        return False
    camera = "_shift" if shift else ""
    part = folder.with_name(f".{folder.name}.{images}_{seed}{camera}_v{VERSION}.part")
    drawn = tables(images, seed)
    try:
        _draw_images(part, drawn, seed, shift)
        _write_tables(part, drawn)
        core.write_json(part / core.DEMO_MARKER, marker)
        core.put_in_place(part, folder)
    except OSError as error:
        problem = f"cannot write {folder}: {error.strerror or error}"
        raise UserError(problem, "free some space, or name another folder") from error
    return True


def _is_there(folder: Path, marker: dict[str, int]) -> bool:
    """Whether `folder` holds the demo of this `marker`; anything else in it is left alone."""
    if not folder.exists() or (folder.is_dir() and core.is_empty(folder)):
        return False
    file = folder / core.DEMO_MARKER
    if not file.is_file() or json.loads(file.read_text(encoding="utf-8")) != marker:
        raise UserError(f"{folder} holds something else; remove it, or name a new folder")
    images = [*folder.rglob("[12]?????.*")]  # by their ids of six digits
    if len(images) != marker["images"] + marker["tests"]:
        raise UserError(f"{folder} holds a demo that lost images; remove it and draw it again")
    return True


def tables(images: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows: image_id, label, path below the folder, whether it is turned."""
    facts = load_facts()
    rng = np.random.default_rng([VERSION, seed])
    train = _labels(rng, images, 100001, least=2)
    test = _labels(rng, images // 3, 200001, least=1)
    train = train.join(_sessions(rng, train.label))
    train = train.sort_values(["label", "variety", "age", "image_id"], ignore_index=True)
    test = test.sort_values("image_id", ignore_index=True)
    in_class = train.label + "/" if facts.class_folders else ""
    train["path"] = facts.train + "/" + in_class + train.image_id
    test["path"] = facts.test + "/" + test.image_id
    turned = rng.permutation(images + images // 3) < 4  # four are landscape, as in the real one
    train["turned"], test["turned"] = turned[:images], turned[images:]
    return train, test


def _labels(rng: np.random.Generator, count: int, first: int, least: int) -> pd.DataFrame:
    """Ids from `first` on, shuffled among labels of the real shares, `least` or more of each."""
    wanted = pd.Series(SHARES) / sum(SHARES.values()) * (count - least * len(SHARES))
    counts = np.floor(wanted).astype(int)
    missing = count - least * len(SHARES) - counts.sum()
    counts[(wanted - counts).nlargest(missing).index] += 1
    labels = rng.permutation(np.repeat(counts.index, counts + least))
    suffix = load_facts().suffix or ".jpg"
    return pd.DataFrame({"image_id": [f"{first + i}{suffix}" for i in range(count)],
                         "label": labels})


def _sessions(rng: np.random.Generator, labels: pd.Series) -> pd.DataFrame:
    """A variety and an age per label: every session in the field saw some labels more often."""
    rows = [(v, age, share / len(ages)) for v, (share, ages) in FIELDS.items() for age in ages]
    sessions = pd.DataFrame(rows, columns=["variety", "age", "share"])
    liking = {label: rng.lognormal(0, 1.2, len(rows)) * sessions.share for label in SHARES}
    picks = [rng.choice(len(rows), p=liking[name] / liking[name].sum()) for name in labels]
    return sessions.loc[picks, ["variety", "age"]].set_index(labels.index)


def _write_tables(part: Path, drawn: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """The three tables of the competition; the sample's labels are empty."""
    facts, (train, test) = load_facts(), drawn
    names = {"image_id": facts.id, "label": facts.label}
    files = {facts.table: train, "solution.csv": test, core.SAMPLE: test.assign(label="")}
    for file, table in files.items():
        table = table.assign(image_id=table.image_id.str.removesuffix(facts.suffix))
        columns = [*facts.columns, *(facts.other if file == facts.table else ())]
        table.rename(columns=names)[columns].to_csv(part / file, index=False)


def _draw_images(
    part: Path, drawn: tuple[pd.DataFrame, pd.DataFrame], seed: int, shift: bool
) -> None:
    """Every photograph of the tables that `part` lacks, on all cores this process may use."""
    train, test = drawn
    rows = pd.concat([train.assign(second=False), test.assign(second=shift)])
    for folder in {Path(path).parent for path in rows.path} | {Path("unfinished")}:
        (part / folder).mkdir(parents=True, exist_ok=True)
    jobs = [(part, row.path, row.label, row.turned, row.second,
             [VERSION, seed, int(Path(row.image_id).stem)])
            for row in rows.itertuples() if not (part / row.path).exists()]
    with Pool(core.cores(), signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        done = pool.imap_unordered(_draw_image, jobs, chunksize=4)
        list(tqdm(done, "drawing", len(rows), initial=len(rows) - len(jobs), unit=" images"))
    shutil.rmtree(part / "unfinished")


def _draw_image(job: tuple[Path, str, str, bool, bool, list[int]]) -> None:
    """One photograph, from its own seed: whichever process draws it, the bytes are the same."""
    part, path, label, turned, second, seed = job
    size, rng, quality = (640, 480) if turned else (480, 640), np.random.default_rng(seed), 88
    if second:
        camera = np.random.default_rng([*seed, 2])  # its own: `rng` draws the same leaves
        image, quality = second_photograph(label, rng, camera, size)
    else:
        image = photograph(label, rng, size)
    temporary = part / "unfinished" / f"{os.getpid()}.jpg"
    image.save(temporary, quality=quality)
    os.replace(temporary, part / path)
