"""Simulated competitions: tables of models whose errors correlate as real ones do."""

import numpy as np
import pandas as pd
from scipy.special import softmax

from src.ensemble import weights
from src.ensemble.ensemble import Ensemble
from src.ensemble.members import Member
from src.evidence import average

MIX = np.array([1764, 1738, 1594, 1442, 1088, 965, 620, 479, 380, 337]) / 10_407  # of the classes
# family → number of models, noise shared by families of one kind, by the family, by nobody
EQUAL = {family: (5, 0, 0.35, 0.4) for family in ("convnext", "swin", "swinv2", "vit")}
MIXED = {family: (5, 0, together, 0.4) for family, together in
         (("convnext", 0.5), ("swin", 0.45), ("swinv2", 0.4), ("vit", 0.3))}
WEAK = {family: (6, 0, 0.7, 0.3) for family in ("convnext", "swin", "swinv2")}
SUBTLE = WEAK | {"vit": (2, 0, 0.2, 0.4)}
KIN = {family: (6, 0.5, 0.5, 0.3) for family in WEAK}
DESERVING = KIN | {"vit": (2, 0, 0.2, 0.4)}


def simulate(seed, families, images=10_407):
    """Tables, families and labels of models with correlated errors in 1.5 to 3 % of images.

    An image is hard for all models, its noise is partly shared; two labels of a thousand are wrong.
    """
    random = np.random.default_rng(seed)
    shape, truth = (images, len(MIX)), random.choice(len(MIX), images, p=MIX)
    hard = np.exp(noise(random, 0.4, (images, 1)))
    shared, of_kind = noise(random, 0.95, shape), noise(random, 1, shape)
    signal = (12.4 * np.eye(len(MIX))[truth] + np.log(MIX)).astype(np.float32)
    ids = pd.Index([f"{number:06d}.jpg" for number in range(images)], name="image_id")
    classes = [f"class {k}" for k in range(len(MIX))]
    tables, family_of = {}, {}
    for family, (count, kind, together, alone) in families.items():
        common = shared + kind * of_kind + noise(random, together, shape)
        for number in range(count):
            logits = signal + 2 * hard * (common + noise(random, alone, shape))
            family_of[f"{family}_{number}"] = family
            tables[f"{family}_{number}"] = pd.DataFrame(softmax(logits, 1), ids, classes)
    truth = np.where(random.random(images) < 0.002, random.choice(len(MIX), images), truth)
    return tables, family_of, pd.Series([classes[k] for k in truth], index=ids)


def noise(random, size, shape):
    return np.float32(size) * random.standard_normal(shape, dtype=np.float32)


def few(images=600, models=6, seed=0):
    """Tables, families and labels of a small competition whose models are equally good."""
    families = {f"family{k}": (1, 0, 0.4, 0.8) for k in range(models)}
    return simulate(seed, families, images)


def holdout(images=600, models=6):
    """The same as the methods take it."""
    return weights.gather(*few(images, models))


def ensemble_of(tables, labels, families=None):
    """An ensemble of these hold-out tables; its test set is the hold-out."""
    families = families or dict.fromkeys(tables, "x")
    variant = {"fold": 0, "split": "stratified", "seed": 42}
    members = [Member(name, [{"family": families[name], "variant": variant}], 1.0, 1.0, t, t, t, t)
               for name, t in tables.items()]
    valid = average(tables.values())
    return Ensemble(None, "", members, {}, labels, tables, valid, "equal", "", "arithmetic")
