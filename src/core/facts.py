"""Records of params.yaml, checked field by field; the facts of the competition are one."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from src.core.config import UserError, load_params, nearest

OTHER = ("variety", "age")  # the further columns that a recipe can use
SAMPLE = "sample_submission.csv"
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true/false", list: "a list"}
Rules = Iterable[tuple[bool, str]]  # what must hold, and the line if it does not


def make_record(kind: type, sections: Mapping[str, dict[str, Any]]) -> Any:
    """The dataclass `kind` from `sections`, the last ones first; their keys say where they stand.

    UserError names a field that `kind` does not have, and those that no section gives.
    """
    known, values = [field.name for field in fields(kind)], {}
    for where, section in sections.items():
        for name in section:
            if name not in known:
                raise UserError(f"{where}unknown parameter {name!r}", nearest(str(name), known))
        values |= section
    if missing := [name for name in known if name not in values]:
        raise UserError(f"{', '.join(missing)} must be given a value")
    return kind(**values)


def check_record(record: object, rules: Rules) -> None:
    """Refuse the first field of another type than declared, then the first rule that is broken."""
    for field in fields(record):
        value, kinds = getattr(record, field.name), get_args(field.type) or (field.type,)
        number = isinstance(value, int) and float in kinds
        right = isinstance(value, kinds) or number
        if not right or (isinstance(value, bool) and bool not in kinds):  # Python counts with it
            wanted = " or ".join(KINDS[kind] for kind in kinds)
            raise UserError(f"{field.name}={value!r} must be {wanted}")
    for holds, message in rules:
        if not holds:
            raise UserError(message)


@dataclass(frozen=True)
class Facts:
    """Names and numbers of a competition, as its files have them; 0 is a number not known."""

    slug: str
    table: str
    id: str
    label: str
    other: list
    train: str
    test: str
    class_folders: bool
    suffix: str
    images: int
    classes: int
    public: int
    private: int
    metric: str

    def __post_init__(self) -> None:
        check_record(self, self._rules())

    def _rules(self) -> Rules:
        """What must hold, once the types are right."""
        for name in ("table", "id", "label", "train", "test"):
            yield getattr(self, name).strip() != "", f"{name} must not be empty"
        for name in ("images", "classes", "public", "private"):
            yield getattr(self, name) >= 0, f"{name} must be 0 (not known) or more"
        yield (bool(re.fullmatch("[a-z0-9-]+", self.slug)),
               f"slug={self.slug!r} must be the last part of the competition's address")
        yield self.id != self.label, "id and label must be two columns"
        yield self.train != self.test, "train and test must be two folders"
        yield (all(name in OTHER for name in self.other),
               f"other may name {' and '.join(OTHER)}; leave others out")
        yield (self.metric == "accuracy",
               f"metric={self.metric!r} is not supported; it must be accuracy")

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
    try:
        return make_record(Facts, {"": load_params()["competition"]})
    except UserError as error:
        raise UserError(f"params.yaml, competition: {error}") from None
