"""The `Variant`: everything that decides what a training produces, checked before any work."""

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import chain
from typing import Any, get_args

from src.core.config import UserError, load_params, nearest
from src.core.facts import OTHER, load_facts

CHOICES = {
    "resize": ("squish", "crop", "pad", "rect"),
    "tta": ("none", "random", "flips", "crops", "rotations"),
    "split": ("stratified", "grouped"),
    "augment": ("fastai", "fast"),
    "schedule": ("fine_tune", "one_cycle", "sgdr"),
    "snapshots": ("none", "members", "mean"),
    "targets": ("disease", "disease+variety", "disease+variety+age"),
    "sampler": ("uniform", "class", "hard"),
}
FIND = "find"  # instead of a learning rate: look for one
LONGEST = 10_000  # epochs; more is a slip
FEWEST = 2  # images in a batch: the batch norm of the head cannot do with one
Rules = Iterable[tuple[bool, str]]  # what must hold, and the line if it does not
DEFAULT_SEED = 42
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true/false"}  # to a reader


def height_width(size: int | str) -> tuple[int, int]:
    """`224` → (224, 224), `"288x224"` → (288, 224): height first, as fastai has it."""
    parts = str(size).lower().split("x")
    if len(parts) > 2 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UserError(f"size {size!r} is no size in pixels; write 224 or 288x224, height x width")
    return int(parts[0]), int(parts[-1])


def split_sizes(sizes: str) -> list[int | str]:
    """`"128,160x128"` → [128, "160x128"], smallest stages first; nothing gives an empty list."""
    return [_written_one_way(size.strip()) for size in sizes.split(",")] if sizes else []


def _written_one_way(size: int | str) -> int | str:
    height, width = height_width(size)
    return height if height == width else f"{height}x{width}"


def yes_or_no(value: Any) -> Any:
    """`"true"` and `"false"` as papermill's command line passes them on; anything else as it is."""
    return {"true": True, "false": False}.get(str(value).lower(), value)


@dataclass(frozen=True)
class Variant:
    """Everything that decides what a training produces: one row of params.yaml."""

    arch: str
    resize: str
    item_size: int | str
    size: int | str
    epochs: int
    lr: float | str
    bs: int
    accum: int
    fold: int | str
    seed: int
    pretrained: bool | str
    min_scale: float
    split: str
    augment: str
    cache: int
    schedule: str
    cycles: int
    cycle_len: int
    cycle_mult: int
    snapshots: str
    freeze_epochs: int
    lr_mult: float
    label_smoothing: float
    mixup: float
    cutmix: float
    dropout: float
    ema: float
    sampler: str
    sizes: str
    time_limit: float
    exclude: str
    relabel: str
    precompute: bool
    targets: str
    tta: str
    views: int
    beta: float
    desc: str

    def __post_init__(self) -> None:
        for name in ("size", "item_size"):
            object.__setattr__(self, name, _written_one_way(getattr(self, name)))
        object.__setattr__(self, "sizes", ",".join(map(str, split_sizes(str(self.sizes)))))
        for name in ("pretrained", "precompute"):
            object.__setattr__(self, name, yes_or_no(getattr(self, name)))
        _check(self)

    @property
    def name(self) -> str:
        """`<arch>_<desc>`; split, fold and seed are added when they are not the usual ones."""
        parts = [self.arch.replace(".", "_"), self.desc or f"{self.resize}_{self.size}"]
        parts += [self.split] * (self.split != CHOICES["split"][0])
        parts += ["all" if self.fold == "all" else f"fold{self.fold}"] * (self.fold != 0)
        parts += [f"seed{self.seed}"] * (self.seed != DEFAULT_SEED)
        return "_".join(parts)

    @property
    def scheduled(self) -> int:
        """The epochs of the schedule, without those of the head alone."""
        if self.schedule != "sgdr":
            return self.epochs
        return sum(self.cycle_len * self.cycle_mult**number for number in range(self.cycles))

    @property
    def recipe(self) -> dict[str, Any]:
        """The fields as a plain dictionary, as they go into the card and the notebook."""
        return asdict(self)


def _check(v: Variant) -> None:
    """Refuse values no training can use, before any work."""
    for field in fields(Variant):
        value, kinds = getattr(v, field.name), get_args(field.type) or (field.type,)
        yes_no = isinstance(value, bool) and bool not in kinds  # Python counts with it
        if yes_no or not isinstance(value, (*kinds, int) if float in kinds else kinds):
            wanted = " or ".join(KINDS[kind] for kind in kinds)
            raise UserError(f"{field.name}={value!r} must be {wanted}")
    for name, known in CHOICES.items():
        if (value := getattr(v, name)) not in known:
            raise UserError(f"{name}={value!r} is unknown", nearest(value, known))
    rules = _basic_rules(v), _cache_rules(v), _recipe_rules(v), _feature_rules(v)
    for holds, message in chain(*rules):
        if not holds:
            raise UserError(message)


def _basic_rules(v: Variant) -> Rules:
    return [
        (v.arch.strip() != "", "arch is empty; name an architecture, for example vit_small"),
        (v.resize != "rect" or isinstance(v.item_size, str),
         f"resize=rect needs a rectangle: -p item_size 640x480, not {v.item_size}"),
        (min(height_width(v.item_size)) >= 16, f"item_size={v.item_size} must be 16 or more"),
        (v.epochs >= 1, f"epochs={v.epochs} must be 1 or more"),
        (v.lr == FIND or (not isinstance(v.lr, str) and 0 < v.lr < 10),
         f"lr={v.lr!r} must be above 0 and below 10, or {FIND}; 0.01 is usual"),
        (v.accum >= 1 and v.bs % v.accum == 0 and v.bs // v.accum >= FEWEST,
         f"accum={v.accum} must divide bs={v.bs} into batches of {FEWEST} images or more"),
        (v.fold in (0, 1, 2, 3, 4, "all"), f"fold={v.fold!r} must be 0, 1, 2, 3, 4 or all"),
        (v.fold != "all" or v.split == CHOICES["split"][0],
         f"split={v.split} changes nothing with fold=all, which holds nothing out; leave it out"),
        (0 <= v.seed < 2**32, f"seed={v.seed} must be 0 or more, and below 2**32"),
        (0 < v.min_scale <= 1, f"min_scale={v.min_scale} must be above 0 and at most 1"),
        (v.views >= 1, f"views={v.views} must be 1 or more; switch TTA off with tta=none"),
        (0 <= v.beta <= 1, f"beta={v.beta}, the share of the plain view, must be between 0 and 1"),
        (bool(re.fullmatch(r"[\w+-]{0,100}", v.desc)),
         f"desc={v.desc!r} must be letters, digits, _, + or -, at most 100"),
    ]


def _cache_rules(v: Variant) -> Rules:
    field = "size" if v.augment == "fast" else "item_size"  # what copies are resampled to
    sides = height_width(getattr(v, field))
    # A rectangle has the shape of the photographs; what is not has to fit into a copy.
    least = min(sides) if v.resize == "rect" else max(sides)
    yield (v.cache == 0 or v.cache >= least,
           f"cache={v.cache} holds fewer pixels than {field}={getattr(v, field)} needs with "
           f"augment={v.augment}; take {least} or more, or 0 for the photographs")


def _recipe_rules(v: Variant) -> Rules:
    yield 1 <= v.cycles <= 100, f"cycles={v.cycles} must be 1 or more, and at most 100"
    yield v.cycle_len >= 1, f"cycle_len={v.cycle_len} must be 1 or more epochs"
    yield v.cycle_mult >= 1, f"cycle_mult={v.cycle_mult} must be 1 or more; 1 repeats one length"
    yield (v.snapshots == "none" or (v.schedule == "sgdr" and v.cycles > 1),
           f"snapshots={v.snapshots} needs ends of cycles; set schedule=sgdr and cycles=2 or more")
    yield (v.snapshots == "none" or not v.ema,
           "ema and snapshots would both average the weights; leave one out")
    yield (max(v.freeze_epochs, v.scheduled) <= LONGEST,
           f"that is more than {LONGEST:,} epochs; lower (freeze_)epochs, cycles or cycle_mult")
    yield v.freeze_epochs >= 0, f"freeze_epochs={v.freeze_epochs} must be 0 or more"
    yield 1 <= v.lr_mult < math.inf, f"lr_mult={v.lr_mult} must be 1 or more"
    yield (0 <= v.label_smoothing < 1,
           f"label_smoothing={v.label_smoothing} must be 0 or more and below 1; 0.1 is usual")
    yield 0 <= v.mixup < math.inf, f"mixup={v.mixup} must be 0 (off) or more; 0.4 is usual"
    yield 0 <= v.cutmix < math.inf, f"cutmix={v.cutmix} must be 0 (off) or more; 1 is usual"
    yield not (v.mixup and v.cutmix), "mixup and cutmix would mix twice; set one of them to 0"
    yield 0 <= v.dropout < 1, f"dropout={v.dropout} must be 0 or more and below 1"
    yield 0 <= v.ema < 1, f"ema={v.ema} must be 0 (off) or more and below 1; 0.99 is usual"
    yield (v.sampler != "hard" or not (v.mixup or v.cutmix),
           "sampler=hard needs the loss of each image, mixup and cutmix blend them; leave one out")
    yield (not v.sizes or split_sizes(v.sizes)[-1] == v.size,
           f"sizes={v.sizes} must end with size={v.size}, at which the model predicts")
    areas = [math.prod(height_width(size)) for size in split_sizes(v.sizes)]
    yield areas == sorted(set(areas)), f"sizes={v.sizes} must grow from each to the next"
    yield (len(areas) <= v.scheduled,
           f"sizes={v.sizes} are more than the {v.scheduled} epochs; give each one or more")
    yield (0 <= v.time_limit < math.inf,
           f"time_limit={v.time_limit} must be 0 (none) or more minutes")


def _feature_rules(v: Variant) -> Rules:
    yield (not v.precompute or bool(v.pretrained and v.freeze_epochs),
           "precompute is for epochs of the head alone: it needs pretrained weights and "
           "freeze_epochs of 1 or more")
    yield (not v.precompute or not (v.mixup or v.cutmix),
           "precompute keeps features of whole images, mixup and cutmix blend them; leave one out")
    yield (v.targets == CHOICES["targets"][0] or not (v.mixup or v.cutmix),
           f"targets={v.targets} are of whole images, mixup and cutmix blend them; leave one out")
    wanted = OTHER if v.split == "grouped" else tuple(v.targets.split("+")[1:])
    lacking = set(wanted) - set(load_facts().other) if wanted else set()
    yield (not lacking,
           f"split={v.split}, targets={v.targets} need {' and '.join(sorted(lacking))}, which the "
           "competition of params.yaml does not have; use split=stratified and targets=disease")


def make_variant(**changes: Any) -> Variant:
    """The defaults of params.yaml with `changes`; an unknown name is refused."""
    known = [f.name for f in fields(Variant)]
    train, predict = load_params()["train"], load_params()["predict"]
    sections = {"": changes, "params.yaml, train: ": train, "params.yaml, predict: ": predict}
    for where, section in sections.items():
        for name in section:
            if name not in known:
                raise UserError(f"{where}unknown parameter {name!r}", nearest(name, known))
    values = train | predict | changes
    if lacking := [name for name in known if name not in values]:
        problem = f"{', '.join(lacking)} must be given a value under train or predict"
        raise UserError(f"params.yaml: {problem}")
    return Variant(**values)


def load_variants() -> dict[str, Variant]:
    """The rows of params.yaml, name → Variant; a key that is not the derived name is refused."""
    rows = load_params()["variants"] | load_params()["demo"]
    return {key: _read_row(key, row) for key, row in rows.items()}


def _read_row(key: str, row: dict[str, Any]) -> Variant:
    try:
        variant = make_variant(**row)
    except UserError as error:
        raise UserError(f"params.yaml: row {key!r}: {error}") from error
    if key != variant.name:
        raise UserError(f"params.yaml: row {key!r} describes {variant.name!r}; "
                        "rename the row, or correct its fields")
    return variant
