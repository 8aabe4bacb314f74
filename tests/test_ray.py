"""Jobs over a Ray cluster: two nodes of one CPU each, on this machine."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray_jobs import Errand, killed_once, run_errand
from small import assert_same_run, dataset, net, small_recipe

from onecycle import Observer, Run, TrainingFailed, UserError
from onecycle.errors import Stopped
from onecycle.interruption import Terminated
from onecycle.studies import Job, LocalEngine, Resources, search, train_job, trials

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

from onecycle.launch import importing  # noqa: E402
from onecycle.launch.ray import RayEngine, cluster, worker  # noqa: E402

ONE = Resources(cpus=1)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster that this process has joined, whose second node says that it has a GPU."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patched.setenv("OMP_NUM_THREADS", "2")
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.delenv("ONECYCLE_DATA", raising=False)
        made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
        made.add_node(num_cpus=1, num_gpus=1)
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(address=made.address, log_to_driver=False, logging_level="error")
        signal.signal(signal.SIGTERM, handler)
    yield made.address
    ray.shutdown()
    made.shutdown()


def jobs_in(folder: Path, count: int, **changes: Any) -> list[Job]:
    folder.mkdir()
    data = dataset()
    return [
        Job(small_recipe(seed=seed, **changes), folder / f"s{seed}", None, "cpu", net(), data) for seed in range(count)
    ]


def test_the_runs_are_the_local_engines_bit_for_bit(address: str, tmp_path: Path) -> None:
    """The second of three loses its worker within an epoch, and goes on from its checkpoint in another."""
    local = jobs_in(tmp_path / "local", 3)
    assert [result for _, result in LocalEngine().run(train_job, local, ONE)] == [job.folder for job in local]
    said: list[str] = []
    far = jobs_in(tmp_path / "far", 3)
    results = dict(RayEngine(say=said.append).run(killed_once, far, ONE))
    assert {job.folder: result for job, result in results.items()} == {job.folder: job.folder for job in far}
    for one, other in zip(local, far, strict=True):
        assert_same_run(Run.open(one.folder), Run.open(other.folder))
    killed = int((tmp_path / "far" / "s1" / "killed").read_text())
    assert killed != os.getpid()
    resumed = Run.open(tmp_path / "far" / "s1").environment["resumed"]
    assert [one["step"] for one in resumed] == [4]
    assert said == [
        "Ray: 1 node with 1 CPU; 1 node with 1 CPU and 1 GPU; room for 2 trials at a time",
        f"{tmp_path}/far/s1: its process was killed or crashed; it goes on from its checkpoint (1 of 3 times)",
    ]
    assert not list((tmp_path / "far").glob(".workers*"))


def test_trials_and_a_search(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are for the local engine: the first trials of a search do not depend on each other."""
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"model": net(), "data": dataset(), "device": "cpu", "observer": Observer()}
    recipe = small_recipe(**{"resources.cpus": 1})
    near = trials(recipe, seeds=2, out="near", **given)
    far = trials(recipe, seeds=2, out="far", engine=RayEngine(), **given)
    for one, other in zip(near.runs, far.runs, strict=True):
        assert_same_run(one, other)
    found = {}
    for name, used in (("local", LocalEngine()), ("ray", RayEngine())):
        found[name] = search(
            recipe,
            space={"schedule.lr_max": {"low": 0.005, "high": 0.05, "log": True}},
            trials=3,
            out=f"search-{name}",
            engine=used,
            **given,
        )
    tried = {name: [(one.number, one.changes, one.accuracy) for one in each.trials] for name, each in found.items()}
    assert tried["ray"] == tried["local"] and len(tried["ray"]) == 3


def test_what_a_worker_is_given(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONECYCLE_DATA", "/somewhere")
    [(_, plain)] = RayEngine().run(run_errand, [Errand(tmp_path)], ONE)
    assert not isinstance(plain, Exception)
    assert plain.pop("pid") != os.getpid()
    assert plain == {"threads": 1, "folder": tmp_path, "data": "/somewhere", "gpus": ""}
    monkeypatch.delenv("ONECYCLE_DATA")  # a worker that had another command's has it no more
    [(_, without)] = RayEngine().run(run_errand, [Errand(tmp_path)], ONE)
    assert without["data"] is None
    [(_, with_gpu)] = RayEngine().run(run_errand, [Errand(tmp_path)], Resources(cpus=1, gpus=0.5))
    assert with_gpu["gpus"] == "0"


def test_jobs_are_asked_for_when_there_is_room(address: str, tmp_path: Path) -> None:
    asked: list[int] = []
    ended: list[int] = []
    together: set[int] = set()

    def errands() -> Iterator[Errand]:
        for number in range(6):
            asked.append(number)
            together.add(len(asked) - len(ended))
            yield Errand(tmp_path / str(number), "wait")

    for errand, _ in RayEngine().run(run_errand, errands(), ONE):
        ended.append(int(errand.folder.name))
    assert sorted(ended) == list(range(6))
    assert max(together) == 2


def test_errors_arrive_as_themselves(address: str, tmp_path: Path) -> None:
    errands = [Errand(tmp_path, "user error"), Errand(tmp_path, "failed"), Errand(tmp_path)]
    found = dict(RayEngine().run(run_errand, errands, ONE))
    wrong, failed, good = (found[one] for one in errands)
    assert isinstance(wrong, UserError) and wrong.problems == ("one thing", "another thing")
    assert isinstance(failed, TrainingFailed) and str(failed) == "the loss is nan"
    assert good["threads"] == 1
    with pytest.raises(ZeroDivisionError, match="a fault") as fault:
        list(RayEngine().run(run_errand, [Errand(tmp_path, "fault")], ONE))
    assert "ray_jobs.py" in str(fault.value.__cause__)  # where it was, for --debug


@pytest.mark.parametrize(
    ("what", "reason"), [("die", "its process was killed or crashed"), ("told to stop", "its process was told to stop")]
)
def test_what_is_lost_too_often_has_failed_and_others_go_on(
    address: str, tmp_path: Path, what: str, reason: str
) -> None:
    said: list[str] = []
    lost, good = Errand(tmp_path / "lost", what), Errand(tmp_path / "good")
    found = dict(RayEngine(losses=1, say=said.append).run(run_errand, [lost, good], ONE))
    assert found[good]["threads"] == 1
    failed = found[lost]
    assert isinstance(failed, TrainingFailed)
    assert str(failed) == f"{tmp_path}/lost: {reason}, 2 times; the same command goes on from its checkpoint"
    assert said[1:] == [f"{tmp_path}/lost: {reason}; it goes on from its checkpoint (1 of 1 times)"]


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (Resources(64), "64 CPUs a trial: no node of the Ray cluster has as much; it has 1 node with 1 CPU"),
        (Resources(1, 2.0), "1 CPU and 2 GPUs a trial: no node"),
    ],
)
def test_more_than_there_is(address: str, tmp_path: Path, resources: Resources, said: str) -> None:
    with pytest.raises(UserError, match=said):
        list(RayEngine().run(run_errand, [Errand(tmp_path)], resources))


def test_another_version_on_a_node(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {**worker.versions(), "torch": "1.0"}
    monkeypatch.setattr(worker, "versions", lambda: mine)
    line = f"node {socket.gethostname()} has torch {torch.__version__.partition('+')[0]}, not 1.0; the same on every"
    with pytest.raises(UserError, match=line):
        list(RayEngine().run(run_errand, [Errand(tmp_path)], ONE))


def test_a_folder_that_a_node_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_SEEN_SECONDS", 0.5)
    with cluster.marker_near(tmp_path / "not" / "yet") as marker:
        assert marker.parent == tmp_path
        origin = worker.Origin.here(marker)
        assert worker.misfit(origin) is None
    line = worker.misfit(origin)
    assert line == (
        f"node {socket.gethostname()} does not see {tmp_path} as it is here; "
        "--out in a folder that all nodes share is needed"
    )
    outcome = worker.carry_out(run_errand, Errand(tmp_path), 1, 0.0, origin)
    assert (outcome.kind, outcome.value) == ("unfit", line)


@pytest.mark.parametrize(
    ("cpus", "gpus", "node", "times"),
    [
        (1, 0.0, {"CPU": 8.0}, 8),
        (3, 0.0, {"CPU": 8.0, "GPU": 2.0}, 2),
        (1, 0.5, {"CPU": 8.0, "GPU": 2.0}, 4),
        (1, 0.4, {"CPU": 8.0, "GPU": 2.0}, 4),  # two on each, not five on both
        (1, 0.1, {"CPU": 8.0, "GPU": 1.0}, 8),
        (1, 0.1, {"CPU": 80.0, "GPU": 1.0}, 10),
        (1, 1.0, {"CPU": 8.0, "GPU": 2.0}, 2),
        (1, 0.5, {"CPU": 8.0}, 0),
        (1, 0.0, {}, 0),
    ],
)
def test_how_often_a_share_is_in_a_node(cpus: int, gpus: float, node: dict[str, float], times: int) -> None:
    assert cluster.Share(cpus, gpus).times_in(node) == times


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 .*; ray start --head prints its address"),
        ("ray://10.0.0.1:10001", "trials cannot go through Ray Client; run the command on a node"),
        ("somewhere", "Ray address 'somewhere': auto or HOST:PORT is needed"),
        ("somewhere:99999999", "no Ray cluster answers at somewhere:99999999"),
    ],
)
def test_no_cluster_there(address: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for found in (RayEngine(address), RayEngine()):
        with pytest.raises(UserError, match=said):
            list(found.run(run_errand, [Errand(tmp_path)], ONE))
        monkeypatch.setenv("RAY_ADDRESS", address)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("onecycle.launch.ray")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("onecycle.launch.ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs the extra: pip install 'onecycle\[ray\]'"):
        import onecycle.launch.ray  # noqa: F401
    assert "ray" in importing.explanation(ModuleNotFoundError(name="ray"), "ray")


def test_errors_are_pickled_whole() -> None:
    """Lines of their own stay so, and a stop keeps its signal."""
    wrong = pickle.loads(pickle.dumps(UserError("one", "other")))
    assert wrong.problems == ("one", "other") and str(wrong) == "one\nother"
    stopped = pickle.loads(pickle.dumps(Stopped("saved", signal.SIGTERM)))
    assert (str(stopped), stopped.signal_number, stopped.exit_code) == ("saved", signal.SIGTERM, 143)


def test_who_leaves_early_has_the_others_save(address: str, tmp_path: Path) -> None:
    said: list[str] = []
    going = RayEngine(say=said.append).run(run_errand, [Errand(tmp_path, "until stopped"), Errand(tmp_path)], ONE)
    next(going)
    while not (tmp_path / "began").exists():
        time.sleep(0.05)
    going.close()
    assert (tmp_path / "saved").exists()
    assert said[1:] == ["asking 1 trial to save and stop; once more ends at once, unsaved since the last checkpoint"]


def test_ray_leaves_the_handling_of_signals_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """ray.init makes SIGTERM leave with 15."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), cluster._own_signals():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_saves_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C in a terminal, which goes to every process of the command; Ray is started by it, and ended."""
    small = {
        **{"model.name": "compact", "data.train_limit": 1000, "data.batch_size": 4, "resources.cpus": 1},
        **{"schedule.epochs": 9, "schedule.peak_epoch": 1},
    }
    asked = [f"--set={key}={value}" for key, value in small.items()]
    command = [sys.executable, "-m", "onecycle", "trials", "digits", "--seeds", "3", "--engine", "ray", "--out", "out"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [*command, *asked],
        cwd=tmp_path,
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    runs = [tmp_path / "out" / "digits" / f"s{seed}" for seed in range(2)]
    deadline = time.monotonic() + 120
    while not all((run / "steps.csv").exists() for run in runs) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    printed, said = process.communicate(timeout=120)
    assert (process.returncode, printed) == (130, ""), said
    assert "asking 2 trials to save and stop" in said
    assert said.splitlines()[-1].startswith("onecycle: error: stopped by SIGINT; 0 trials finished")
    assert said.splitlines()[-1].endswith("go on with the same command and --out out")
    for run in runs:  # long before a checkpoint was due
        newest = max((run / "checkpoints").glob("*.safetensors"))
        steps = len((run / "steps.csv").read_text().splitlines()) - 1
        assert newest.stem == f"step-{steps:08d}" and not (run / "summary.json").exists(), said
    assert not _session(process.pid)


def _session(leader: int) -> list[str]:
    """The processes of a session that are still there, by their command lines."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
            if int(after_name[3]) == leader and after_name[0] != "Z":
                found.append((status.parent / "cmdline").read_text())
        except (OSError, IndexError):
            continue
    return found
