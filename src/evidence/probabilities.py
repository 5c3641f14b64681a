"""The probability table and its contract: join by image id and class name, check, average.

In memory a table is a DataFrame: `image_id` as index, one column per class name, rows sum to 1.
On disk it is a parquet file with rows (view, image_id) and, in its metadata, where it comes from.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.core import UserError, atomic_path

KEYS = {"kind", "split", "model", "sha256", "tta", "images"}  # metadata that every file has
TOLERANCE = 1e-3  # of a row's sum: the error of a softmax in half precision
FLOOR = 1e-7  # smaller ones are 0 in half precision; one such 0 must not veto an image


def write_probs(
    path: Path, plain: pd.DataFrame, views: pd.DataFrame | None, meta: Mapping[str, Any]
) -> None:
    """Write the `plain` and, unless TTA is none, the averaged augmented `views` with `meta`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = {"plain": plain} if views is None else {"plain": plain, "views": views}
    for view, table in tables.items():
        check_probs(table, f"{path} ({view})")
    joined = dict(zip(tables, join(list(tables.values())), strict=True))
    stacked = pd.concat(joined, names=["view", "image_id"]).astype(np.float32)
    table = pa.Table.from_pandas(stacked)
    text = json.dumps({"kind": "probability", **meta})
    schema = {**table.schema.metadata, b"paddy": text.encode()}
    with atomic_path(path) as temporary:
        # Probabilities neither repeat nor compress; stored plain they are read three times faster.
        pq.write_table(table.replace_schema_metadata(schema), temporary,
                       use_dictionary=["view", "image_id"], compression="none")


def read_probs(
    path: Path, expect: Mapping[str, Any] | None = None
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Tables by view ("plain", "views") and metadata of a file whose metadata are as `expect`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, memory_map=True).read(use_threads=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing", _remedy(path)) from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is no parquet file", f"delete it, then {_remedy(path)}") from error
    meta = _meta(table.schema.metadata, path)
    if differing := _differing(meta, expect or {}):
        key = differing[0]
        raise UserError(f"{path} is stale, made with another {key}",
                        f"delete it, then {_remedy(path)}")
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
            raise UserError(f"{where}: {axis} {twice!r} is there twice", "predict it again")
    if table.empty or any(kind.kind != "f" for kind in table.dtypes):
        raise UserError(f"{where}: no table of numbers, image x class", "predict it again")
    values = table.to_numpy()
    total = values.sum(axis=1, dtype=np.float64)
    right = (np.abs(total - 1) <= TOLERANCE) & (values >= -TOLERANCE).all(axis=1)
    if not right.all():
        row, count = right.argmin(), (~right).sum()
        found = f"lowest {values[row].min():.4g}, sum {total[row]:.4g}"
        raise UserError(f"{where}: {count:,} images have no probabilities, first "
                        f"{table.index[row]} ({found})",
                        "take the softmax of logits; where it is nan, train with a smaller lr")


def join(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """All `tables` with the images and classes in the order of the first, matched by name."""
    first, joined = tables[0], []
    for number, table in enumerate(tables, 1):
        same = table.index.equals(first.index) and table.columns.equals(first.columns)
        if not same:
            both = [t.attrs.get("model", f"table {n}") for n, t in ((1, first), (number, table))]
            _require_same("images", first.index, table.index, both)
            _require_same("classes", first.columns, table.columns, both)
        joined.append(table if same else table.loc[first.index, first.columns])
    return joined


def mean_of(
    stack: np.ndarray, weights: Sequence[float] | None = None, geometric: bool = False
) -> np.ndarray:
    """Weighted mean (images, classes) of `stack` (models, images, classes); rows sum to 1."""
    if geometric:
        stack = np.log(np.maximum(stack, FLOOR))
    weights = np.ones(len(stack)) if weights is None else weights
    mean = np.average(stack, axis=0, weights=weights)
    mean = np.exp(mean) if geometric else mean
    return mean / mean.sum(axis=1, keepdims=True)


def average(
    tables: Iterable[pd.DataFrame], weights: Sequence[float] | None = None, geometric: bool = False
) -> pd.DataFrame:
    """Weighted mean of `tables`, arithmetic or geometric; without `weights` all count the same."""
    joined = join([*tables])
    stack = np.array([table.to_numpy(dtype=np.float64) for table in joined])
    mean = mean_of(stack, weights, geometric)
    return pd.DataFrame(mean, index=joined[0].index, columns=joined[0].columns)


def _meta(metadata: Mapping[bytes, bytes] | None, path: Path) -> dict[str, Any]:
    """The metadata of the file at `path`, refused when they are not the contract's."""
    try:
        meta = json.loads((metadata or {})[b"paddy"])
    except (KeyError, ValueError):
        meta = {}
    if not meta.keys() >= KEYS:
        raise UserError(f"{path} does not say which model and images it belongs to",
                        f"delete it, then {_remedy(path)}")
    if meta["kind"] != "probability":
        raise UserError(f"{path} holds {meta['kind']}, not probabilities", "take the softmax first")
    return meta


def _differing(meta: Mapping[str, Any], expect: Mapping[str, Any]) -> list[str]:
    """The keys of `expect` whose values, written as JSON, are not those of `meta`."""
    wanted = json.loads(json.dumps(dict(expect)))
    return [key for key in wanted if meta.get(key) != wanted[key]]


def _views(table: Any, path: Path, model: str) -> dict[str, pd.DataFrame]:
    """The arrow `table` as one checked DataFrame per view."""
    classes = [name for name in table.column_names if name not in ("view", "image_id")]
    values = np.column_stack([table[name].to_numpy() for name in classes])
    ids, tables = pd.Index(table["image_id"].to_pandas(), name="image_id"), {}
    for name in ("plain", "views"):
        rows = table["view"].to_numpy() == name
        if rows.any():
            tables[name] = pd.DataFrame(values[rows], index=ids[rows], columns=classes)
            tables[name].attrs = {"model": model}
            check_probs(tables[name], f"{path} ({name})")
    return tables


def _require_same(axis: str, ours: pd.Index, theirs: pd.Index, both: list[str]) -> None:
    differing = ours.symmetric_difference(theirs)
    if len(differing):
        names = ", ".join(map(str, differing[:3]))
        raise UserError(f"{' and '.join(both)} have different {axis}: {len(differing):,} "
                        f"in one only ({names}, …)", "predict both for the same images and classes")


def _remedy(path: Path) -> str:
    """The command that makes the file at `path` again, by its name."""
    if path.name.endswith(".valid.parquet"):
        return "train this model again"
    return "run python -m src.ensemble to predict it"
