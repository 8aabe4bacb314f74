"""The commands as a user types them: exit codes, one line an error, JSON alone on stdout."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cifar_files import write_cifar10
from PIL import Image

from onecycle import Stopped, cli, registry, training
from onecycle.errors import UserError
from onecycle.files import read_csv
from onecycle.run import Run

TINY = ["--set", "model.name=compact", "--set", "data.train_limit=40", "--set", "data.batch_size=20"]
TINY += ["--set", "schedule.epochs=2", "--set", "schedule.peak_epoch=1", "--set", "evaluate_every=0", "--device", "cpu"]


def call(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    code = left.value.code
    assert isinstance(code, int)
    return code


def stop(training_under_way: object, epoch: int) -> None:
    """In the place of an evaluation: what a signal in the midst of it does."""
    raise Stopped("stopped", signal.SIGINT)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that must fail with 2 says: lines of errors on stderr, nothing on stdout."""
    capsys.readouterr()
    assert call(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err
    assert "Traceback" not in said.err
    lines = [line for line in said.err.splitlines() if not re.match("onecycle: (?!error: )", line)]  # but for advice
    assert lines and all(line.startswith("onecycle: error: ") for line in lines), said.err
    return "".join(f"{line}\n" for line in lines)


@pytest.fixture(scope="module")
def cifar_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar")
    write_cifar10(folder, 20)
    return folder


@pytest.mark.usefixtures("drawn")
def test_train_writes_a_run_and_says_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "one"
    assert call("train", "digits", "--seed", "3", "--out", str(out), *TINY) == 0
    said = capsys.readouterr()
    assert "of 360 test images" in said.out and f"{out}/summary.json" in said.out
    lines = [line for line in said.err.splitlines() if line.strip() and not re.search("step|pictures|^onecycle:", line)]
    header, *lines = lines[1:]
    assert " ".join(header.split()) == "epoch lr train loss train acc test loss test acc images/s time left"
    assert len(lines) == 2 and lines[0].split()[0] == "1"
    run = Run.open(out)
    assert run.summary["seed"] == 3 and run.recipe.seed == 3
    assert (out / "plots" / "curves.png").stat().st_size > 10_000
    assert f"{out}/report.html" in said.out and (out / "report.html").stat().st_size > 10_000
    assert run.environment["argv"] and run.environment["threads"] >= 1


def test_json_is_alone_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert call("train", "digits", "--json", "--out", str(out), *TINY) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["run"] == str(out) and 0 <= result["test"]["accuracy"] <= 1


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_ends_the_run(tmp_path: Path, number: signal.Signals, code: int) -> None:
    out = tmp_path / "run"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    many = [*TINY, "--set", "schedule.epochs=8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "onecycle", "train", "digits", "--out", str(out), "--no-report", *many],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    deadline = time.monotonic() + 60
    while len(read_csv(out / "steps.csv")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    last = said.splitlines()[-1]
    assert re.fullmatch(rf"onecycle: error: stopped by {number.name} after step \d+ of 16; saved, go on with: .*", last)
    assert last.endswith(f"onecycle train --resume {out}")
    steps = len(read_csv(out / "steps.csv"))
    assert 2 <= steps < 16 and not (out / "summary.json").exists()
    assert call("train", "--resume", str(out), "--no-report") == 0
    assert [row["step"] for row in read_csv(out / "steps.csv")] == [str(step) for step in range(1, 17)]


@pytest.mark.parametrize(
    "arguments, what",
    [
        (["train"], "needs either a RECIPE or --resume"),
        (["train", "digitz"], "did you mean 'digits'?"),
        (["models", "summary", "whitened_convnet", "--image-size", "8"], "takes no images of 8 pixels a side"),
        (["data", "fetch", "cifar10", "--timeout", "inf"], "--timeout"),
        (["train", "digits", "--set", "schedule.epochs=0"], "schedule.epochs 0 is below 1"),
        (["train", "digits", "--set", "schedule.epochs=-4"], "schedule.epochs -4 is below 1"),
        (["train", "digits", "--set", "schedule.peak_epoch=99"], "schedule.peak_epoch 99 is outside"),
        (["train", "digits", "--set", "data.batch_size=5000"], "data.batch_size 5000 is larger than the training set"),
        (["train", "digits", "--set", "nonsense"], "not of the form key=value"),
        (["train", "digits", "--device", "cuda:77"], "'cuda:77' is not on this machine"),
        (["train", "digits", "--device", "quantum"], "'quantum' is unknown"),
        (["train", "digits", "--set", "precision=fp16", "--device", "cpu"], "fp16"),
        (["train", "digits", "--data", "cifar11"], "did you mean 'cifar10'?"),
        (["train", "digits", "--seed", "many"], "--seed"),
        (["train", "cifar.yaml"], "no such file"),
        (["train", "custom_resnet", "--data-dir", "/nowhere/at/all"], "/nowhere/at/all"),
        (["train", "--resume", "/nowhere/at/all"], "no such folder"),
        (["models", "summary", "custom_resnut"], "did you mean 'custom_resnet'?"),
        (["data", "info", "cifar1"], "did you mean 'cifar10'?"),
        (["data", "fetch", "digits"], "cannot be fetched"),
        (["tarin"], "tarin"),
        (["train", "digits", "--bogus"], "--bogus"),
    ],
)
def test_bad_input_gets_a_clear_line(
    arguments: list[str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert what in refused(capsys, *arguments)
    assert not list(tmp_path.iterdir()), "something was written"


def test_all_problems_come_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["data.batchsize=3", "augment.flip=randm", "optimizer.weight_dcay=1", "schedule.epochs=0", "seed=-1"]
    said = refused(capsys, "train", "digits", *(part for key in keys for part in ("--set", key)))
    assert len(said.splitlines()) == 5
    for nearest in ("'batch_size'", "'random'", "'weight_decay'"):
        assert nearest in said


def test_out_that_exists_and_resume_of_another_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "exists" in refused(capsys, "train", "digits", "--out", str(tmp_path), *TINY)
    out = tmp_path / "run"
    assert call("train", "digits", "--out", str(out), *TINY) == 0
    assert "keeps its seed" in refused(capsys, "train", "--resume", str(out), "--seed", "9")
    assert "of the recipe 'digits'" in refused(capsys, "train", "custom_resnet", "--resume", str(out))
    assert "keeps its data.batch_size" in refused(capsys, "train", "digits", "--resume", str(out))
    for arguments in (["--resume", str(out)], ["digits", "--resume", str(out), *TINY]):
        assert call("train", *arguments) == 0  # it has ended: nothing to do, nothing lost


def test_a_resumed_run_finds_its_data_again(
    cifar_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONECYCLE_DATA", raising=False)
    out = tmp_path / "run"
    with monkeypatch.context() as stopping:
        stopping.setattr(training._Training, "evaluate_epoch", stop)
        assert call("train", "custom_resnet", "--data-dir", str(cifar_folder), "--out", str(out), *TINY) == 130
    assert call("train", "--resume", str(out)) == 0
    assert Run.open(out).summary["test"]["images"] == 20


def test_a_damaged_batch_file_is_named(cifar_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cifar10(tmp_path, 20)
    damaged = next(tmp_path.rglob("data_batch_3"))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert "data_batch_3" in refused(capsys, "train", "custom_resnet", "--data-dir", str(tmp_path))


def test_a_full_disk_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files stands for the disk: the checkpoint does not fit."""
    out = tmp_path / "run"
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, usual[1]))  # whose signal Python ignores from its start
    try:
        assert call("train", "digits", "--out", str(out), *TINY) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("onecycle: error: ") and "disk is full" in said
    assert "Traceback" not in said
    assert not [path for path in out.rglob("*") if path.suffix == ".part"]


def test_data_info(cifar_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "info", "cifar10", "--data-dir", str(cifar_folder), "--json") == 0
    info = json.loads(capsys.readouterr().out)
    assert info["train"]["images"] == 100 and info["test"]["images"] == 20
    assert sum(info["train"]["classes"].values()) == 100 and len(info["train"]["mean"]) == 3
    assert call("data", "info", "cifar10", "--data-dir", str(cifar_folder)) == 0
    said = capsys.readouterr().out
    assert "airplane" in said and "mean, red" in said


def test_data_info_of_the_parts_that_a_recipe_makes(cifar_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("--set", "data.val_fraction=0.2", "--set", "data.train_limit=30")
    assert call("data", "info", "cifar10", "--data-dir", str(cifar_folder), "--json", *changes) == 0
    info = json.loads(capsys.readouterr().out)
    assert {part: info[part]["images"] for part in ("train", "val", "test")} == {"train": 30, "val": 20, "test": 20}


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe without a reader is another error on Windows")
def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    left = subprocess.run([sys.executable, "-m", "onecycle", "recipes"], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (left.returncode, left.stderr) == (0, b"")


def test_an_error_that_a_broken_pipe_led_to_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(*_: Any, **__: Any) -> None:
        try:
            raise BrokenPipeError
        except OSError:
            raise UserError("process 1 is lost") from None

    monkeypatch.setattr(importlib.import_module("onecycle.cli.main"), "app", lost)
    assert call("recipes") == 2
    assert capsys.readouterr().err == "onecycle: error: process 1 is lost\n"


def test_data_preview_draws_the_augmentations(cifar_folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "preview.png"
    arguments = ["--data-dir", str(cifar_folder), "--out", str(picture), "--samples", "4", "--epochs", "3"]
    assert call("data", "preview", "custom_resnet", *arguments, "--set", "data.batch_size=10") == 0
    with Image.open(picture) as image:
        assert image.width > 300 and np.asarray(image.convert("L")).std() > 10


def test_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipes") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in registry.names("recipe"))
    assert call("recipes", "show", "custom_resnet", "--set", "seed=7") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["seed"] == 7 and shown["schedule"]["epochs"] == 24 and shown["optimizer"]["betas"] == [0.9, 0.999]


def test_models_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("models", "summary", "custom_resnet") == 0
    said = capsys.readouterr().out
    assert "Total params: 6,573,130" in said and "379.27" in said


def test_help_and_import_load_no_torch() -> None:
    for code in ("import onecycle", "from onecycle.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"):
        check = f"{code}\nimport sys; assert not {{'torch', 'pydantic', 'matplotlib', 'numpy'}} & set(sys.modules)"
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_fault_of_our_own_is_told_apart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(kind: str) -> list[str]:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(registry, "names", broken)
    assert call("recipes") == 1
    assert "fault of onecycle's own" in capsys.readouterr().err
    assert call("--debug", "recipes") == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.undo()
    assert call("--debug", "train", "digitz") == 2


def test_no_command_prints_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["models"], ["data"]):
        assert call(*arguments) == 0
        assert "Commands:" in capsys.readouterr().out


def test_what_the_system_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "x" * 50 in refused(capsys, "train", "--resume", "x" * 300)
    assert "ending that says the format" in refused(
        capsys, "data", "preview", "digits", "--out", str(tmp_path / "p.xyz")
    )


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")):
        with monkeypatch.context() as patch:
            patch.setattr(registry, "names", lambda kind, error=error: (_ for _ in ()).throw(error))
            (line,) = refused(capsys, "recipes").splitlines()
        assert "not enough memory" in line


def test_a_net_is_summarised_without_its_memory(capsys: pytest.CaptureFixture[str]) -> None:
    largest = ["--image-size", "65536", "--batch-size", "1000000", "--num-classes", "1000000"]
    assert call("models", "summary", "compact", *largest) == 0
    assert "[1000000, 32, 65536, 65536]" in capsys.readouterr().out
    assert "65536" in refused(capsys, "models", "summary", "compact", "--image-size", "9" * 30)


def test_names_of_any_bytes_are_printed_and_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a\nb", "\x1b[31m", "\udcff", "a\0b"):
        for arguments in (["train", name], ["train", "--resume", name], ["train", "digits", "--out", f"{name}/a\0b"]):
            (line,) = refused(capsys, *arguments).splitlines()
            assert line.isprintable()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert call("recipes", "show", "digits", "--set", "name=größer") == 0
    picture = "\udcff.png"
    assert call("data", "preview", "digits", "--out", picture, "--samples", "1", "--epochs", "1") == 0
    assert (tmp_path / picture).exists()


@pytest.mark.parametrize("net, images", [("compact", 41), ("custom_resnet", 41)])
def test_a_last_batch_of_one_image_that_cannot_train_is_refused_before(
    net: str, images: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [
        *TINY,
        "--set",
        f"data.train_limit={images}",
        "--set",
        f"model={{name: {net}}}",
        "--out",
        str(tmp_path / "run"),
    ]
    small = ["--set", "data.image_size=8", "--set", "augment.cutout=0"]
    said = refused(capsys, "train", "digits", *tiny, *small)
    assert "a batch of one image of 8 pixels a side, as data.batch_size 20 gives" in said
    assert not (tmp_path / "run").exists()
    if net == "compact":
        assert call("train", "digits", *tiny, *small, "--set", "data.drop_last=true") == 0
