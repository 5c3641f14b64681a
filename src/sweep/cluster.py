"""The nodes of a Ray cluster as places: the code travels, the data do not, bundles come back.

Ray only carries: which row runs where, what is tried again and what is finished are decided as on
one machine. A task never raises, because an exception brings 25 lines of traceback; the driver sees
only what Ray itself raises, when a node is lost. https://docs.ray.io/en/latest/ray-core/
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any, TextIO

from src import bundle, competition
from src.bundle import versions
from src.core import ROOT, UserError, commit, sweep_dir, write_json
from src.sweep.engines import Engine
from src.sweep.node import Wanted, on_node, unfit
from src.sweep.work import Outcome, Place, Row, State, file_of

LEFT_OUT = ("/models", "/data", "/demo", "/.venv", "/.git", "/cache", "/sweep", "/notebooks/runs")

@contextmanager
def connected(address: str) -> Iterator[tuple[Any, TextIO]]:
    """Ray, connected, and the real stdout: what Ray prints meanwhile goes to sweep/ray.log."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when it is imported
    try:
        import ray
    except ImportError as error:
        raise UserError("--address needs Ray", 'pip install -e ".[ray]"') from error
    with _to_log(sweep_dir() / "ray.log") as out:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR",
                     runtime_env={"working_dir": str(ROOT), "excludes": list(LEFT_OUT)})
        except Exception as error:  # each way to fail has its own class, some of them RuntimeError
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"no Ray cluster at {address} ({reason})",
                            "start one with ray start --head") from error
        try:
            yield ray, out
        finally:
            ray.shutdown()


@contextmanager
def _to_log(path: Path) -> Iterator[TextIO]:
    """All that this process and its children write is appended to `path`; yields the old stdout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = [os.dup(number) for number in (1, 2)]
    before = sys.stdout, sys.stderr
    with (open(path, "a", encoding="utf-8", errors="replace", buffering=1) as log,
          open(saved[0], "w", encoding="utf-8", closefd=False, buffering=1) as out):
        sys.stdout = sys.stderr = log
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        try:
            yield out
        finally:
            sys.stdout, sys.stderr = before
            for number, original in zip((1, 2), saved, strict=True):
                os.dup2(original, number)
                os.close(original)


@contextmanager
def cluster(
    address: str, rows: list[Row], cores: int, mixed: bool
) -> Iterator[Engine]:
    """The engine of a Ray cluster; nodes that join it later get rows, too."""
    data, models = rows[0].data, rows[0].models
    with (connected(address) as (ray, out),
          NamedTemporaryFile(dir=models, prefix=".seen") as probe):
        fingerprint = competition.train_fingerprint(data)
        nodes = Nodes(ray, Wanted(fingerprint, versions.installed(), mixed, probe.name), cores, out)
        if not nodes.places():
            raise UserError(f"no node of the cluster at {address} can train", "add one that can")
        yield Engine(nodes.places, nodes.work, nodes.stop, out)


class Nodes:
    """The nodes of the cluster: which have what it takes, and what runs on them."""

    def __init__(self, ray: Any, wanted: Wanted, cores: int, out: TextIO) -> None:
        self.ray, self.wanted, self.cores, self.out = ray, wanted, cores, out
        self.known: dict[str, list[Place]] = {}  # by id; those that are unfit or lost have none
        self.streams: dict[str, Any] = {}  # of the rows in work
        self.stopped = False

    def places(self) -> list[Place]:
        """The places of all fit nodes; new ones are looked at first."""
        for node in self.ray.nodes():
            if node["Alive"] and node["NodeID"] not in self.known:
                self.known[node["NodeID"]] = self._places_of(node)
        return [place for found in self.known.values() for place in found]

    def _places_of(self, node: dict[str, Any]) -> list[Place]:
        ip, has = node["NodeManagerAddress"], node["Resources"]
        gpus = int(has.get("GPU", 0))
        count = gpus or int(has.get("CPU", 0)) // self.cores
        try:
            why = count and self.ray.get(self._task(unfit, node["NodeID"]).remote(self.wanted))
        except self.ray.exceptions.RayError as error:
            why = f"cannot run this code: {_last_line(error)}"
        if why:
            print(f"node {ip} {why}", file=self.out)
        env = {"node": node["NodeID"], "gpu": "1" if gpus else ""}
        return [] if why else [Place(f"{ip} {number + 1}", env) for number in range(count)]

    def _task(self, function: Callable, node: str, **options: Any) -> Any:
        """`function` as a task for that node alone."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        where = NodeAffinitySchedulingStrategy(node, soft=False)
        return self.ray.remote(function).options(scheduling_strategy=where, max_retries=0,
                                                 **{"num_cpus": 0} | options)

    def work(self, row: Row, place: Place) -> Outcome:
        """`src.sweep.work.work` on the node of `place`; the bundle comes back."""
        gpu = {"num_gpus": 1} if place.env["gpu"] else {}
        task = self._task(on_node, place.env["node"], num_cpus=self.cores, name=row.name, **gpu,
                          num_returns="streaming", _generator_backpressure_num_objects=2)
        where = row.data, row.variant.seed, row.models, row.variant.split
        competition.get_folds(*where)  # made, if need be: the node has to hold out the same images
        saved = competition.folds_path(*where)
        split = {saved.name: saved.read_text(encoding="utf-8")}
        stream = task.remote(row.variant.recipe, self.wanted, self.cores, split)
        self.streams[row.name] = stream, place.env["node"]
        try:
            outcome = _received(map(self.ray.get, stream), row)
        except self.ray.exceptions.RayTaskError as error:
            outcome = Outcome("", "", State.FAILED, _last_line(error), retry=True)
        except (self.ray.exceptions.NodeDiedError, self.ray.exceptions.TaskUnschedulableError):
            outcome = Outcome("", "", State.FAILED, self._lost(place), retry=True)
        except self.ray.exceptions.RayError as error:  # its process ended: killed, or by `stop`
            state = State.INTERRUPTED if self.stopped else State.FAILED
            outcome = Outcome("", "", state, type(error).__name__, retry=not self.stopped)
        except (UserError, OSError) as error:
            outcome = Outcome("", "", State.FAILED, str(error), retry=True)
        del self.streams[row.name]
        return outcome._replace(name=row.name, place=place.name)

    def _lost(self, place: Place) -> str:
        """Give the node of `place` no more rows; say once how many it had."""
        ip, node = place.name.split()[0], place.env["node"]
        if self.known[node]:
            rows = sum(on == node for _, on in list(self.streams.values()))
            print(f"node {ip} lost; {rows} row{'s' * (rows > 1)} to go on elsewhere", file=self.out)
        self.known[node] = []
        return f"node {ip} lost"

    def stop(self, number: int) -> None:
        """End the rows in work, whatever the signal; their checkpoints stay on the nodes."""
        self.stopped = True
        for stream, _ in list(self.streams.values()):
            self.ray.cancel(stream, force=True)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


def _received(stream: Iterator[Any], row: Row) -> Outcome:
    """The Outcome of a row; on the way to it its progress, after it the files of its bundle."""
    for item in stream:
        if isinstance(item, Outcome):
            break
        write_json(file_of(row.name, "progress"), item)
    if item.state == State.DONE:
        fetch(stream, row)
    return item


def fetch(stream: Iterator[Any], row: Row) -> None:
    """The files of a bundle, under temporary names until all are there; the card last."""
    row.models.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=row.models, prefix=f".{row.name}.") as arriving:
        file = None
        for item in stream:
            if isinstance(item, str):
                file = Path(arriving, item)
            with open(file, "ab") as opened:
                opened.write(b"" if isinstance(item, str) else item)
        if file:
            bundle.put(Path(arriving), row.models, bundle.read_whole(Path(arriving), row.name))
    card = bundle.read_card(row.models, row.name)
    if not card["commit"]:  # the code that travelled has no .git
        write_json(bundle.card_path(row.models, row.name), card | commit())
