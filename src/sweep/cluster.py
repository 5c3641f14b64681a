"""The nodes of a Ray cluster as places: the code travels, the data do not, bundles come back.

Ray only carries: which row runs where, what is tried again and what is finished are decided as on
one machine. A task never raises, because an exception brings 25 lines of traceback; the driver sees
only what Ray itself raises, when a node is lost. https://docs.ray.io/en/latest/ray-core/
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any, TextIO

from src import bundle, competition
from src.bundle import versions
from src.core import ROOT, UserError, commit, sweep_dir, write_json, write_text
from src.sweep.engines import Engine, threads
from src.sweep.folder import file_of, lock, note, now
from src.sweep.node import Wanted, data_of, inspect, on_node
from src.sweep.work import Outcome, Place, Row, State

ANSWER, START = 10, 120  # seconds for the head to answer, for a node to have the code
LEFT_OUT = ("/models", "/data", "/demo", "/.venv", "/.git", "/cache", "/sweep", "/notebooks/runs")


@contextmanager
def connected(address: str) -> Iterator[tuple[Any, TextIO]]:
    """Ray, connected, and the real stdout: what Ray prints meanwhile goes to sweep/ray.log."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when it is imported
    try:
        import ray
    except ImportError as error:
        raise UserError("--address needs Ray", 'pip install -e ".[ray]"') from error
    _require_answer(address)
    print(f"connecting to {address}", flush=True)
    with _to_log(sweep_dir() / "ray.log") as out:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR",
                     runtime_env={"working_dir": str(ROOT), "excludes": list(LEFT_OUT)})
        except Exception as error:  # each way to fail has its own class, some of them RuntimeError
            reason = " ".join(str(error).split()).split(". ")[0]
            raise UserError(f"no Ray cluster at {address} lets this machine in ({reason})",
                            "start one with ray start --head, or share its token: README"
                            ) from error
        try:
            yield ray, out
        finally:
            ray.shutdown()


def _require_answer(address: str) -> None:
    """Refuse a HOST:PORT where nobody answers: Ray itself would wait there, deaf to Ctrl-C."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), ANSWER).close()
        except OSError as error:
            raise UserError(f"nobody answers at {address} ({error.strerror or error})",
                            "start the cluster there with ray start --head") from error


@contextmanager
def _to_log(path: Path) -> Iterator[TextIO]:
    """All that this process and its children write is appended to `path`; yields the old stdout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = [os.dup(number) for number in (1, 2)]
    with (open(path, "a", encoding="utf-8", errors="replace", buffering=1) as log,
          open(saved[0], "w", encoding="utf-8", closefd=False, buffering=1) as out,
          redirect_stdout(log), redirect_stderr(log)):
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        try:
            yield out
        finally:
            for number, original in zip((1, 2), saved, strict=True):
                os.dup2(original, number)
                os.close(original)


@contextmanager
def cluster(address: str, rows: list[Row], cores: int, mixed: bool) -> Iterator[Engine]:
    """The engine of a Ray cluster; nodes that join it later get rows, too."""
    data, models = rows[0].data, rows[0].models
    with (connected(address) as (ray, out),
          NamedTemporaryFile(dir=models, prefix=".seen") as probe):
        wanted = Wanted(data_of(data), versions.installed(), mixed, probe.name, str(sweep_dir()))
        nodes = Nodes(ray, wanted, cores)
        if not nodes.places():
            print(*nodes.news(), sep="\n", file=out)
            raise UserError(f"no node of the cluster at {address} can train", "add one that can")
        yield Engine(nodes.places, nodes.work, nodes.stop, nodes.news, out)


class Nodes:
    """The nodes of the cluster: which have what it takes, and what runs on them."""

    def __init__(self, ray: Any, wanted: Wanted, cores: int) -> None:
        self.ray, self.wanted, self.cores = ray, wanted, cores
        self.known: dict[str, list[Place]] = {}  # by id; those that are unfit or lost have none
        self.streams: dict[str, Any] = {}  # of the rows in work, with their nodes
        self.lines: list[str] = []
        self.stopped = False

    def places(self) -> list[Place]:
        """The places of all fit nodes that are there; new ones are looked at first."""
        for node in self.ray.nodes():
            number, ip = node["NodeID"], node["NodeManagerAddress"]
            if not node["Alive"] and self.known.get(number):
                rows = sum(on == number for _, on in list(self.streams.values()))
                count = f"{rows} row{'s' * (rows != 1)}"
                self.lines.append(f"node {ip} lost; {count} to go on elsewhere")
                self.known[number] = []
            elif node["Alive"] and number not in self.known:
                self.known[number] = self._places_of(node)
        return [place for found in self.known.values() for place in found]

    def news(self) -> list[str]:
        """A line for each node that was refused or lost since the last time."""
        lines, self.lines = self.lines, []
        return lines

    def _places_of(self, node: dict[str, Any]) -> list[Place]:
        ip, has = node["NodeManagerAddress"], node["Resources"]
        gpus, cpus = int(has.get("GPU", 0)), int(has.get("CPU", 0))
        if not (count := gpus or cpus // self.cores):
            return []
        try:
            task = self._task(inspect, node["NodeID"]).remote(self.wanted)
            why, shared = self.ray.get(task, timeout=START)
        except self.ray.exceptions.RayError as error:
            why = f"cannot run this code: {_reason(error)}"
        if why:
            self.lines.append(f"node {ip} {why}")
            return []
        facts = threads(max(self.cores, cpus // count)), node["NodeID"], int(gpus > 0), shared
        return [Place(f"{ip} {number + 1}", *facts) for number in range(count)]

    def _task(self, function: Callable, node: str, **options: Any) -> Any:
        """`function` as a task for that node alone."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        where = NodeAffinitySchedulingStrategy(node, soft=False)
        return self.ray.remote(function).options(scheduling_strategy=where, max_retries=0,
                                                 **{"num_cpus": 0} | options)

    def work(self, row: Row, place: Place) -> Outcome:
        """`src.sweep.work.work` on the node of `place`; what is written there comes back."""
        if place.shared:  # the node takes the lock and notes failures in this very folder
            return self._result(row, place)
        with lock(row.name) as held:
            if held is None or row.done:
                return Outcome(row.name, place.name, State.BUSY if held is None else State.DONE)
            started = now()
            file_of(row.name, "progress").unlink(missing_ok=True)
            write_text(file_of(row.name, "log"), f"{started}, {place.name}: the log is there\n")
            outcome = self._result(row, place)
            if outcome.state in (State.FAILED, State.AGAIN):
                note(row.name, place.name, started, outcome.reason)
        return outcome

    def _result(self, row: Row, place: Place) -> Outcome:
        """The Outcome of a row, whatever Ray raises."""
        errors = self.ray.exceptions
        try:
            outcome = _received(map(self.ray.get, self._stream(row, place)), row)
        except (errors.NodeDiedError, errors.TaskUnschedulableError):  # no try of the row's own
            return Outcome(row.name, place.name, State.AGAIN, f"node {place.name.split()[0]} lost")
        except (errors.RayError, UserError, OSError) as error:  # such as its process, killed
            outcome = (Outcome("", "", State.INTERRUPTED) if self.stopped else
                       Outcome("", "", State.FAILED, _reason(error), retry=True))
        self.streams.pop(row.name, None)
        return outcome._replace(name=row.name, place=place.name)

    def _stream(self, row: Row, place: Place) -> Any:
        """What the node of `place` yields about `row`, which is started there."""
        task = self._task(on_node, place.node, num_cpus=self.cores, num_gpus=place.gpus,
                          name=row.name, num_returns="streaming",
                          _generator_backpressure_num_objects=2)
        where = row.data, row.variant.seed, row.models, row.variant.split
        competition.get_folds(*where)  # made, if need be: the node has to hold out the same images
        saved = competition.folds_path(*where)
        split = {saved.name: saved.read_text(encoding="utf-8")}
        stream = task.remote(row.variant.recipe, self.wanted, place, split)
        self.streams[row.name] = stream, place.node
        return stream

    def stop(self, number: int) -> None:
        """End the rows in work, whatever the signal; their checkpoints stay on the nodes."""
        self.stopped = True
        for stream, _ in list(self.streams.values()):
            self.ray.cancel(stream, force=True)


def _reason(error: Exception) -> str:
    """What a traceback of a task ends with; Ray's own errors begin with it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1 if hasattr(error, "cause") else 0].strip()


def _received(stream: Iterator[Any], row: Row) -> Outcome:
    """The Outcome of a row; on the way to it its progress, after it the files of its bundle."""
    for item in stream:
        if isinstance(item, Outcome):
            break
        write_json(file_of(row.name, "progress"), item)
    if item.state == State.DONE:
        fetch(stream, row)
    for log in stream:
        file_of(row.name, "log").write_bytes(log)
    return item


def fetch(stream: Iterator[Any], row: Row) -> None:
    """The files of a bundle, under temporary names until all are there; the card last."""
    row.models.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=row.models, prefix=f".{row.name}.") as arriving:
        for name, piece in stream:
            with open(Path(arriving, name), "ab") as file:
                file.write(piece)
        if any(Path(arriving).iterdir()):  # else the node wrote them to the driver's own folder
            bundle.put(Path(arriving), row.models, bundle.read_whole(Path(arriving), row.name))
    card = bundle.read_card(row.models, row.name)
    if not card["commit"]:  # the code that travelled has no .git
        write_json(bundle.card_path(row.models, row.name), card | commit())
