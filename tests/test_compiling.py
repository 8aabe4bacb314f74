"""Nets that PyTorch compiles: the same training, with nothing compiled once it has begun.

Most of it is tried with torch.compile's backend "eager", which runs what it traced and compiles nothing.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import StopAt, assert_same_run, dataset, images, net, small_recipe, weights
from torch import Tensor
from torch._dynamo.utils import counters

import onecycle
from onecycle import Observer, Run, Stopped, UserError, training
from onecycle.cli.main import main
from onecycle.compiling import CompiledNet
from onecycle.data import Augmentation, Loader

COMPILER = shutil.which("g++") or shutil.which("clang++")


class Messages(Observer):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_message(self, text: str) -> None:
        self.said.append(text)


def run_small(out: Path, observer: Observer | None = None, **changes: Any) -> Run:
    recipe = small_recipe(**{"precision": "fp32", **changes})
    watcher = observer or Observer()
    return onecycle.train(recipe, model=net(), data=dataset(), out=out, device="cpu", observer=watcher)


@pytest.mark.skipif(COMPILER is None, reason="torch.compile needs a C++ compiler, and none is here")
def test_a_compiled_training_learns_the_same_and_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)
    compiled: dict[str, Any] = {"compile": "default", "data.drop_last": True}
    whole = run_small(tmp_path / "whole", **compiled)
    with pytest.raises(Stopped):
        run_small(tmp_path / "stopped", StopAt(5), **compiled)
    resumed = onecycle.resume(tmp_path / "stopped", model=net(), data=dataset(), device="cpu", observer=Observer())
    assert_same_run(whole, resumed)
    summary = whole.summary
    assert 0 < summary["train_seconds"] < summary["compile_seconds"] < summary["wall_seconds"]
    # Dropout draws other numbers in compiled code; what it does on average is the same.
    plain = run_small(tmp_path / "plain", **{"data.drop_last": True})
    assert plain.summary["compile_seconds"] == 0
    losses = [[row["train_loss"] for row in run.metrics()] for run in (plain, whole)]
    assert losses[1] == pytest.approx(losses[0], abs=0.15)
    assert weights(whole).keys() == weights(plain).keys()


def test_no_step_waits_for_compilation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traced: list[dict[str, Any]]
) -> None:
    graphs: list[int] = []
    original = training._Training.train_step

    def step(self: Any, epoch: int, batch: Any) -> None:
        graphs.append(counters["stats"]["unique_graphs"])
        original(self, epoch, batch)
        graphs.append(counters["stats"]["unique_graphs"])

    monkeypatch.setattr(training._Training, "train_step", step)
    torch.compiler.reset()
    counters.clear()
    changes = {"augment.resize": [[0, 16], [1, 32]], "augment.cutout": 0, "data.hardest": [[2, 0.5]]}
    run = run_small(tmp_path / "run", said := Messages(), compile="max-autotune", **changes)
    assert set(graphs) == {5}, "of 60 and 20 images at either side, and of 40 of the hardest 100"
    assert traced == [{"mode": "max-autotune", "dynamic": False}]
    assert said.said.count("compiling the net (max-autotune), so that no step has to wait for it") == 1
    assert_same_training(run, run_small(tmp_path / "plain", **changes))


def assert_same_training(one: Run, other: Run) -> None:
    """Bit-equal weights and losses; the recipes differ in what is compiled."""
    for name, weight in weights(other).items():
        assert torch.equal(weights(one)[name], weight), name
    assert [row["loss"] for row in one.steps()] == [row["loss"] for row in other.steps()]


def test_a_training_may_go_on_compiled_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traced: object) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)
    with pytest.raises(Stopped):
        run_small(tmp_path / "run", StopAt(5), compile="default")
    given: dict[str, Any] = {"model": net(), "data": dataset(), "device": "cpu", "observer": Observer()}
    run = onecycle.resume(tmp_path / "run", changes={"compile": "none"}, **given)
    assert run.environment["resumed"][0]["changed"] == {"compile": ["default", "none"]}
    assert_same_training(run, run_small(tmp_path / "plain"))


@pytest.mark.usefixtures("traced")
def test_a_compiled_training_goes_on_where_only_its_results_are_missing(tmp_path: Path) -> None:
    whole = run_small(tmp_path / "run", compile="default")
    before = weights(whole)
    (whole.path / "summary.json").unlink()
    run = onecycle.resume(whole.path, model=net(), data=dataset(), device="cpu", observer=Observer())
    assert run.finished and all(torch.equal(value, before[name]) for name, value in weights(run).items())


@pytest.mark.usefixtures("traced")
def test_warming_up_leaves_everything_as_it_was() -> None:
    made = net().train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    random = torch.get_rng_state()
    forward = CompiledNet(made, "default")
    batches = Loader(images(90), batch_size=60, augmentation=Augmentation()).blanks(range(2))
    forward.warm_up(batches, "fp32")
    assert [tuple(one.shape) for one in batches] == [(60, 3, 32, 32), (30, 3, 32, 32)]
    assert before.keys() == made.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert all(parameter.grad is None for parameter in made.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert forward(batches[0]).shape == (60, 4)
    assert not torch.equal(made.state_dict()["1.running_var"], before["1.running_var"]), "in training, norms do count"


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(10, 60),
    batch=st.integers(1, 10),
    drop_last=st.booleans(),
    resize=st.sampled_from([(), ((0, 16),), ((0, 16), (1, 24)), ((1, 8), (3, 32))]),
    hardest=st.sampled_from([(), ((1, 0.5),), ((1, 0.73), (3, 0.31))]),
    first=st.integers(0, 3),
    part=st.sampled_from([None, lambda size: slice(0, size, 2), lambda size: slice(1, size, 2)]),
)
def test_blanks_have_the_shapes_of_the_batches_to_come(
    count: int, batch: int, drop_last: bool, resize: Any, hardest: Any, first: int, part: Callable[[int], slice] | None
) -> None:
    loader = Loader(
        images(count),
        batch_size=batch,
        augmentation=Augmentation(cutout=0, resize=resize),
        drop_last=drop_last,
        hardest=hardest,
        part=part,
        dtype=torch.bfloat16,
    )

    def layout(one: Tensor) -> tuple[Any, ...]:
        return tuple(one.shape), one.stride(), one.dtype

    met = set()
    for epoch in range(first, 4):
        chosen = torch.zeros(count, dtype=torch.bool)
        chosen[: loader.images_in(epoch)] = True
        met |= {layout(one.images_nchw) for one in loader.epoch(epoch, chosen=chosen)}
    assert {layout(one) for one in loader.blanks(range(first, 4))} == met


def test_what_cannot_be_compiled_is_one_line_and_can_go_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = torch.compile

    def broken(graph: object, inputs: object) -> Any:
        raise RuntimeError("No working C++ compiler found\nmore of it")

    monkeypatch.setattr(torch, "compile", lambda net, mode, dynamic: original(net, backend=broken, dynamic=dynamic))
    with pytest.raises(UserError) as told:
        run_small(tmp_path / "run", compile="default")
    [line] = told.value.problems
    assert line == "compile default does not work here (No working C++ compiler found); compile none trains without"
    given: dict[str, Any] = {"model": net(), "data": dataset(), "device": "cpu", "observer": Observer()}
    assert onecycle.resume(tmp_path / "run", changes={"compile": "none"}, **given).finished


def test_cuda_graphs_need_cuda(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        main(["train", "digits", "--device", "cpu", "--set", "compile=reduce-overhead", "--out", str(out)])
    assert ended.value.code == 2
    assert "compile reduce-overhead records CUDA graphs, which cpu has not; default or none" in capsys.readouterr().err
    assert not out.exists()
