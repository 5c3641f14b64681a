"""The probability table and its contract: join by image id and class name, check, average.

In memory a table is a DataFrame: `image_id` as index, one column per class name, rows sum to 1.
On disk it is a parquet file with rows (view, image_id) and, in its metadata, where it comes from.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.core import UserError, atomic_path, nearest

KEYS = ("kind", "split", "model", "sha256", "tta", "images")  # metadata that every file has
TOLERANCE = 1e-3  # of a row's sum: the error of a softmax in half precision
FLOOR = 1e-7  # smaller ones are 0 in half precision; one such 0 must not veto an image


def write_probs(
    path: Path, plain: pd.DataFrame, views: pd.DataFrame | None, meta: Mapping[str, Any]
) -> None:
    """Write the `plain` and, unless TTA is none, the averaged augmented `views` with `meta`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    meta = {"kind": "probability", **meta}
    _check_meta(meta, path)
    tables = {"plain": plain} if views is None else {"plain": plain, "views": views}
    for view, table in tables.items():
        check_probs(table, f"{path} ({view})")
    joined = dict(zip(tables, join(list(tables.values())), strict=True))
    stacked = pd.concat(joined, names=["view", "image_id"]).astype(np.float32)
    table = pa.Table.from_pandas(stacked)
    schema = {**table.schema.metadata, b"paddy": json.dumps(meta).encode()}
    with atomic_path(path) as temporary:
        # Probabilities neither repeat nor compress; stored plain they are read three times faster.
        storage = {"use_dictionary": ["view", "image_id"], "compression": "none"}
        pq.write_table(table.replace_schema_metadata(schema), temporary, **storage)


def read_probs(
    path: Path, expect: Mapping[str, Any] | None = None
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Tables by view ("plain", "views") and metadata of a file whose metadata are as `expect`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, memory_map=True).read(use_threads=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {_remedy(path)}") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is no parquet file; delete it, then {_remedy(path)}") from error
    meta = _meta(table.schema.metadata, path)
    if differing := _differing(meta, expect or {}):
        key = differing[0]
        raise UserError(
            f"{path} is stale: its {key} is {_short(meta.get(key))}, wanted is "
            f"{_short(expect[key])}; delete it, then {_remedy(path)}"
        )
    return _views(table, path, meta["model"]), meta


def is_fresh(path: Path, expect: Mapping[str, Any]) -> bool:
    """Whether a whole file is at `path` and its metadata are as `expect`; reads no rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        meta = _meta(pq.read_schema(path).metadata, path)
    except (UserError, pa.ArrowException, OSError):
        return False
    return not _differing(meta, expect)


def blend(tables: Mapping[str, pd.DataFrame], beta: float) -> pd.DataFrame:
    """TTA probabilities: `beta` of the plain view, the rest from the mean of the views."""
    if "views" not in tables:
        return tables["plain"]
    plain, views = join([tables["plain"], tables["views"]])
    return ((1 - beta) * views + beta * plain).__finalize__(plain)


def check_probs(table: pd.DataFrame, where: str) -> None:
    """Refuse what is no table of probabilities; `where` names it in the error."""
    for axis, names in (("image", table.index), ("class", table.columns)):
        if not names.is_unique:
            twice = names[names.duplicated()][0]
            raise UserError(f"{where}: {axis} {twice!r} is there twice; predict it again")
    if table.empty or any(kind.kind != "f" for kind in table.dtypes):
        raise UserError(f"{where}: no table of numbers, image x class; predict it again")
    values = table.to_numpy()
    total = values.sum(axis=1, dtype=np.float64)
    wrong = np.isnan(total) | (np.abs(total - 1) > TOLERANCE) | (values < -TOLERANCE).any(axis=1)
    if wrong.any():
        raise UserError(f"{where}: {_what_is_wrong(table[wrong], values[wrong])}")


def join(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """All `tables` with the images and classes in the order of the first, matched by name."""
    first, joined = tables[0], []
    for number, table in enumerate(tables):
        both = f"{_name(first, 0)} and {_name(table, number)}"
        rows = _same_order("images", first.index, table.index, both)
        columns = _same_order("classes", first.columns, table.columns, both)
        joined.append(table if rows and columns else table.loc[first.index, first.columns])
    return joined


def average(
    tables: Sequence[pd.DataFrame] | Mapping[str, pd.DataFrame],
    weights: Sequence[float] | Mapping[str, float] | None = None,
    geometric: bool = False,
) -> pd.DataFrame:
    """Weighted mean of `tables`, arithmetic or geometric (renormalised); None is equal weights.

    Weights are a list, one per table, or a dictionary by model name, where unnamed tables weigh 1.
    """
    if not tables:
        raise UserError("nothing to average; name at least one model that has probabilities")
    named = isinstance(tables, Mapping)
    members = join(list(tables.values() if named else tables))
    names = list(tables if named else map(_name, tables, range(len(tables))))
    total = np.zeros(members[0].shape)  # (images, classes), double precision
    for share, member in zip(_shares(weights, names), members, strict=True):
        values = member.to_numpy(dtype=np.float64)
        total += share * (np.log(np.maximum(values, FLOOR)) if geometric else values)
    total = np.exp(total) if geometric else total
    total /= total.sum(axis=1, keepdims=True)
    return pd.DataFrame(total, index=members[0].index, columns=members[0].columns)


def _meta(metadata: Mapping[bytes, bytes] | None, path: Path) -> dict[str, Any]:
    """The metadata of the file at `path`, refused when it is not the contract's."""
    try:
        meta = json.loads((metadata or {})[b"paddy"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} does not say which model and images it belongs to; delete it, then "
            f"{_remedy(path)}"
        ) from error
    _check_meta(meta, path)
    return meta


def _check_meta(meta: Mapping[str, Any], path: Path) -> None:
    missing = [key for key in KEYS if key not in meta]
    if missing:
        raise UserError(f"{path}: its metadata lack {', '.join(missing)}; predict it again")
    if meta["kind"] != "probability":
        raise UserError(f"{path} holds {meta['kind']}, not probabilities; take the softmax first")
    if meta["split"] not in ("valid", "test"):
        raise UserError(f"{path}: split is {meta['split']!r}; it must be 'valid' or 'test'")


def _differing(meta: Mapping[str, Any], expect: Mapping[str, Any]) -> list[str]:
    """The keys of `expect` whose values, written as JSON, are not those of `meta`."""
    wanted = json.loads(json.dumps(dict(expect)))
    return [key for key in wanted if meta.get(key) != wanted[key]]


def _views(table: Any, path: Path, model: str) -> dict[str, pd.DataFrame]:
    """The arrow `table` as one checked DataFrame per view."""
    classes = [name for name in table.column_names if name not in ("view", "image_id")]
    if len(classes) + 2 != table.num_columns or not classes:
        raise UserError(f"{path}: no columns view and image_id; delete it and predict it again")
    view = table["view"].to_numpy()
    values = np.column_stack([table[name].to_numpy() for name in classes])
    ids = pd.Index(table["image_id"].to_pandas(), name="image_id")
    tables = {}
    for name in ("plain", "views"):
        rows = view == name
        if rows.any():
            tables[name] = pd.DataFrame(values[rows], index=ids[rows], columns=classes)
            tables[name].attrs = {"model": model}
            check_probs(tables[name], f"{path} ({name})")
    if "plain" not in tables:
        raise UserError(f"{path}: has no plain view; delete it and predict it again")
    return tables


def _what_is_wrong(rows: pd.DataFrame, values: np.ndarray) -> str:
    """One line about the first of the bad `rows`."""
    count = f"{len(rows):,} images, first {rows.index[0]}"
    if np.isnan(values).any():
        return f"NaN ({count}); the training diverged, train it again with a smaller lr"
    if (values < 0).any():
        return f"negative values ({count}): logits, not probabilities; take the softmax first"
    total = float(values[0].sum())
    return f"rows sum to {total:.4g}, not 1 ({count}); take the softmax, or predict it again"


def _same_order(axis: str, ours: pd.Index, theirs: pd.Index, who: str) -> bool:
    """Whether both have the same order; UserError when they do not even have the same names."""
    if ours.equals(theirs):
        return True
    if len(ours) == len(theirs) and not len(ours.difference(theirs)):
        return False
    less, more = ours.difference(theirs), theirs.difference(ours)
    named = ", ".join(map(str, [*less[:3], *more[:3]]))
    raise UserError(
        f"{who} have different {axis}: {len(less)} only in the first, {len(more)} only in the "
        f"second ({named}, …); predict both for the same images and classes"
    )


def _name(table: pd.DataFrame, number: int) -> str:
    return str(table.attrs.get("model", f"table {number + 1}"))


def _shares(weights: Sequence[float] | Mapping[str, float] | None, names: list[str]) -> np.ndarray:
    """`weights` as one share per name, summing to 1."""
    if isinstance(weights, Mapping):
        for name in weights:
            if name not in names:
                raise UserError(f"no model {name!r} to weigh; {nearest(name, names)}")
        weights = [weights.get(name, 1.0) for name in names]
    shares = np.ones(len(names)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(shares) != len(names):
        raise UserError(f"{len(shares)} weights for {len(names)} models; give one for each")
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise UserError(f"weights {shares.tolist()} must be 0 or more and not all 0")
    return shares / shares.sum()


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:12]}…"


def _remedy(path: Path) -> str:
    """The command that makes the file at `path` again, by its name."""
    if str(path).endswith(".valid.parquet"):
        return "train this model again"
    return "run python -m src.ensemble to predict it"
