"""A competition of the real size with finished models: tables and bytes, no photographs."""

from pathlib import Path
from unittest.mock import patch

import pandas as pd
from small_bundles import bundle_in, random_table, sure

from src import competition


def full_size_in(folder: Path, count: int = 20) -> dict[str, str]:
    """`count` bundles for a competition of the real size: the environment that names both.

    The photographs are one byte each; all models are right about the hold-out.
    """
    data, models = folder / "competition", folder / "work" / "models"
    classes = [f"disease_{letter}" for letter in "abcdefghij"]
    train, test = ([f"{n}.jpg" for n in numbers] for numbers in (range(100001, 110408),
                                                                range(200001, 203470)))
    labels = [classes[number % 10] for number in range(len(train))]
    for name in classes:
        (data / "train_images" / name).mkdir(parents=True)
    (data / "test_images").mkdir()
    for name, label in zip(train, labels, strict=True):
        (data / "train_images" / label / name).write_bytes(b"x")
    for name in test:
        (data / "test_images" / name).write_bytes(b"x")
    table = pd.DataFrame({"image_id": train, "label": labels, "variety": "ADT45", "age": 45})
    table.to_csv(data / "train.csv", index=False)
    sample = pd.DataFrame({"image_id": test, "label": ""})
    sample.to_csv(data / "sample_submission.csv", index=False)
    valid = sure(dict(zip(train[:2082], labels, strict=False)), classes)
    common = sure(dict(zip(test, labels, strict=False)), classes)
    readers = ("train_table", "sample", "classes", "train_fingerprint", "test_fingerprint")
    known = {name: getattr(competition, name)(data) for name in readers}  # once for all bundles
    with patch.multiple(competition, **{n: lambda _, table=t: table for n, t in known.items()}):
        for seed in range(count):
            bundle_in(models, data, f"model_{seed}", f"family_{seed % 4}", valid,
                      (common + random_table(data, seed, classes)) / 2)
    return {"PADDY_WORK": str(folder / "work"), "PADDY_DATA": str(data)}
