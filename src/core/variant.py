"""The `Variant`: everything that decides what a training produces, checked before any work."""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from src.core import config, files
from src.core.config import UserError, load_params, nearest, require_once, rows_of
from src.core.facts import OTHER, Rules, check_record, load_facts, make_record

CHOICES = {
    "resize": ("squish", "crop", "pad", "rect"),
    "tta": ("none", "random", "flips", "crops", "rotations"),
    "split": ("stratified", "grouped", "twins"),
    "augment": ("fastai", "fast"),
    "schedule": ("fine_tune", "one_cycle", "sgdr"),
    "snapshots": ("none", "members", "mean"),
    "targets": ("disease", "disease+variety", "disease+variety+age"),
    "sampler": ("uniform", "class", "hard"),
}
LONGEST = 10_000  # epochs; more is a slip
RANGES = {
    "epochs": (1, LONGEST), "freeze_epochs": (0, LONGEST), "cycles": (1, 100),
    "cycle_len": (1, LONGEST), "cycle_mult": (1, 100), "seed": (0, 2**32 - 1),
    "min_scale": (0.001, 1), "views": (1, 1000), "beta": (0, 1),
    "label_smoothing": (0, 0.999), "mixup": (0, 1000), "cutmix": (0, 1000), "dropout": (0, 0.999),
    "ema": (0, 0.999999), "time_limit": (0, 1e6),
}  # fmt: skip
BY_FAMILY = "family"  # instead of lr_mult: that of the architecture's family
FIND = "find"  # instead of a learning rate: look for one
FEWEST = 2  # images in a batch: the batch norm of the head cannot do with one


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
    flip_vert: bool
    split: str
    augment: str
    cache: int
    schedule: str
    cycles: int
    cycle_len: int
    cycle_mult: int
    snapshots: str
    freeze_epochs: int
    lr_mult: float | str
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
        for name in ("pretrained", "precompute", "flip_vert"):
            object.__setattr__(self, name, yes_or_no(getattr(self, name)))
        check_record(self, _rules(self))

    @property
    def name(self) -> str:
        """`<arch>_<desc>`; split, fold and seed are added when they are not the usual ones."""
        name = f"{self.arch.replace('.', '_')}_{self.desc or f'{self.resize}_{self.size}'}"
        if self.split != "stratified":
            name += f"_{self.split}"
        if self.fold != 0:
            name += "_all" if self.fold == "all" else f"_fold{self.fold}"
        return name if self.seed == 42 else f"{name}_seed{self.seed}"

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


def _rules(v: Variant) -> Rules:
    """What must hold of a variant, once the types are right."""
    for name, known in CHOICES.items():
        if (value := getattr(v, name)) not in known:
            yield False, f"{name}={value!r} is unknown; {nearest(value, known)}"
    for name, (low, high) in RANGES.items():
        value = getattr(v, name)
        yield low <= value <= high, f"{name}={value} must be from {low} to {high}"
    yield v.arch.strip() != "", "arch is empty; name an architecture, for example vit_small"
    yield (v.resize != "rect" or isinstance(v.item_size, str),
           f"resize=rect needs a rectangle: -p item_size 640x480, not {v.item_size}")
    yield min(height_width(v.item_size)) >= 16, f"item_size={v.item_size} must be 16 or more"
    yield (v.lr == FIND or (not isinstance(v.lr, str) and 0 < v.lr < 10),
           f"lr={v.lr!r} must be above 0 and below 10, or {FIND}; 0.01 is usual")
    yield (v.lr_mult == BY_FAMILY or (not isinstance(v.lr_mult, str) and 1 <= v.lr_mult <= 1e6),
           f"lr_mult={v.lr_mult!r} must be from 1 to 1000000, or {BY_FAMILY}")
    yield (v.accum >= 1 and v.bs % v.accum == 0 and v.bs // v.accum >= FEWEST,
           f"accum={v.accum} must divide bs={v.bs} into batches of {FEWEST} images or more")
    yield v.fold in (0, 1, 2, 3, 4, "all"), f"fold={v.fold!r} must be 0, 1, 2, 3, 4 or all"
    yield (v.fold != "all" or v.split == "stratified",
           f"split={v.split} changes nothing with fold=all, which holds nothing out; leave it out")
    yield (bool(re.fullmatch(r"[\w+-]{0,100}", v.desc)),
           f"desc={v.desc!r} must be letters, digits, _, + or -, at most 100")
    yield from _recipe_rules(v)


def _recipe_rules(v: Variant) -> Rules:
    """What must hold between the fields of a recipe."""
    field = "size" if v.augment == "fast" else "item_size"  # what copies are resampled to
    sides = height_width(getattr(v, field))
    # A rectangle has the shape of the photographs; what is not has to fit into a copy.
    least = min(sides) if v.resize == "rect" else max(sides)
    yield (v.cache == 0 or v.cache >= least,
           f"cache={v.cache} is too small for {field}={getattr(v, field)}; take {least} or more")
    yield v.scheduled <= LONGEST, f"these cycles are more than {LONGEST} epochs"
    yield (v.snapshots == "none" or (v.schedule == "sgdr" and v.cycles > 1),
           f"snapshots={v.snapshots} needs schedule=sgdr and cycles=2 or more")
    yield v.snapshots == "none" or not v.ema, "snapshots and ema both average: leave one out"
    sizes = split_sizes(v.sizes)
    areas = [math.prod(height_width(size)) for size in sizes]
    yield (not sizes or (areas == sorted(set(areas)) and sizes[-1] == v.size),
           f"sizes={v.sizes} must grow from each to the next and end with size={v.size}")
    yield len(sizes) <= v.scheduled, f"sizes={v.sizes} are more than the {v.scheduled} epochs"
    yield (not v.precompute or bool(v.pretrained and v.freeze_epochs),
           "precompute needs pretrained weights and freeze_epochs of 1 or more")
    yield not (v.mixup and v.cutmix), "mixup and cutmix would mix twice; set one of them to 0"
    whole = {"sampler=hard": v.sampler == "hard", "precompute": v.precompute,
             f"targets={v.targets}": v.targets != "disease"}
    for what, used in whole.items():
        yield (not used or not (v.mixup or v.cutmix),
               f"{what} needs whole images, mixup and cutmix blend them; leave one out")
    wanted = OTHER if v.split == "grouped" else v.targets.split("+")[1:]
    missing = {*wanted} - {*load_facts().other} if wanted else set()
    yield (not missing,
           f"split={v.split}, targets={v.targets} need {' and '.join(sorted(missing))}, which the "
           "competition of params.yaml does not have")


def make_variant(**changes: Any) -> Variant:
    """The defaults of params.yaml with `changes`; an unknown name is refused."""
    params = load_params()
    defaults = {f"params.yaml, {name}: ": params[name] for name in ("train", "predict")}
    return make_record(Variant, defaults | {"": changes})


def load_variants() -> dict[str, Variant]:
    """The rows of params.yaml, name → Variant; keys that are not the derived names are refused."""
    variants, problems = {}, []
    for key, row in rows_of(load_params()).items():
        try:
            variants[key] = variant = make_variant(**row)
            if key != variant.name:
                problems.append(f"row {key!r} describes {variant.name!r}; rename the row")
        except UserError as error:
            problems.append(f"row {key!r}: {error}")
    if problems:
        raise UserError("params.yaml: " + "; ".join(problems))
    return variants


def row_of(variant: Variant) -> dict[str, Any]:
    """The fields of its row of params.yaml: what every row says, and what is not the default."""
    default = make_variant().recipe
    return {name: value for name, value in variant.recipe.items()
            if name in ("arch", "resize", "size") or value != default[name]}


def find_variants(names: list[str]) -> list[Variant]:
    """The rows of params.yaml with these `names`; one unknown, or given twice, is refused."""
    require_once(names)
    rows = load_variants()
    for name in names:
        if name not in rows:
            raise UserError(f"params.yaml has no row {name!r}; {nearest(name, rows)}")
    return [rows[name] for name in names]


def add_rows(rows: dict[str, dict[str, Any]]) -> None:
    """Write `rows`, key → fields, at the end of the section `variants` of params.yaml."""
    path = config.ROOT / "params.yaml"
    text = path.read_text(encoding="utf-8")
    section = re.search(r"^variants:\n(( .*|#.*)?\n)*  .*\n", text, re.MULTILINE)
    if not section:
        raise UserError("params.yaml: no section `variants` with a row on each line; write it so")
    lines = [f"  {key}: {yaml.safe_dump(row, default_flow_style=True, sort_keys=False, width=1e4)}"
             for key, row in rows.items()]
    files.write_text(path, text[: section.end()] + "".join(lines) + text[section.end() :])
    load_params.cache_clear()
