"""The facts of the competition: the section `competition` of params.yaml, checked when read."""

import re
from dataclasses import dataclass, fields
from typing import get_origin

from src.core.config import UserError, load_params, nearest

OTHER = ("variety", "age")  # the further columns that a recipe can use
METRIC = "accuracy"
SAMPLE = "sample_submission.csv"


@dataclass(frozen=True)
class Facts:
    """Names and numbers of a competition, as its files have them; 0 is a number not known."""

    slug: str
    table: str
    id: str
    label: str
    other: tuple[str, ...]
    train: str
    test: str
    class_folders: bool
    suffix: str
    images: int
    classes: int
    public: int
    private: int
    metric: str

    @property
    def columns(self) -> list[str]:
        """The columns of a submission."""
        return [self.id, self.label]

    @property
    def layout(self) -> tuple[str, ...]:
        """The files and folders of the competition."""
        return self.table, self.train, self.test, SAMPLE


def load_facts() -> Facts:
    """The section `competition` of params.yaml; UserError names the first field that is wrong."""
    section = load_params().get("competition")
    known = [field.name for field in fields(Facts)]
    if not isinstance(section, dict):
        raise _wrong(f"is missing; write its fields there: {', '.join(known)}")
    for name in section:
        if name not in known:
            raise _wrong(f"unknown field {name!r}; {nearest(str(name), known)}")
    if lacking := [name for name in known if name not in section]:
        raise _wrong(f"{', '.join(lacking)} must be given a value there")
    for field in fields(Facts):
        kind = list if get_origin(field.type) is tuple else field.type
        if type(section[field.name]) is not kind:
            raise _wrong(f"{field.name}={section[field.name]!r} must be {_named(kind)}")
    for holds, message in _rules(section):
        if not holds:
            raise _wrong(message)
    return Facts(**section | {"other": tuple(section["other"])})


def _rules(section: dict) -> list[tuple[bool, str]]:
    """What must hold, each with the message where it does not."""
    names = {name: section[name] for name in ("table", "id", "label", "train", "test")}
    empty = [name for name, value in names.items() if not value.strip()]
    numbers = [name for name in ("images", "classes", "public", "private") if section[name] < 0]
    return [
        (bool(re.fullmatch("[a-z0-9-]+", section["slug"])),
         f"slug={section['slug']!r} must be the last part of the competition's address"),
        (not empty, f"{', '.join(empty)} must not be empty"),
        (section["id"] != section["label"], "id and label must be two columns"),
        (section["train"] != section["test"], "train and test must be two folders"),
        (set(section["other"]) <= set(OTHER),
         f"other={section['other']} may name {' and '.join(OTHER)}; leave other columns out"),
        (not numbers, f"{', '.join(numbers)} must be 0 (not known) or more"),
        (section["metric"] == METRIC,
         f"metric={section['metric']!r} is not supported; it must be {METRIC}"),
    ]


def _named(kind: type) -> str:
    names = {str: "text", int: "a whole number", bool: "true or false", list: "a list"}
    return names[kind]


def _wrong(message: str) -> UserError:
    return UserError(f"params.yaml, competition: {message}")
