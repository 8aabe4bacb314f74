"""CIFAR-100: what differs from CIFAR-10; test_cifar.py has what both share."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from cifar_files import (
    CLASSES_100,
    FOLDER_100,
    batch_100_bytes,
    failure,
    meta_100_bytes,
    small_cifar100,
    write_archive,
    write_cifar10,
    write_cifar100,
)
from small import small_recipe
from torch import nn

import onecycle
from onecycle.cli import main
from onecycle.data import cifar10, cifar100
from onecycle.data.cifar100 import LAYOUT
from onecycle.data.fetch import ARCHIVES
from onecycle.observer import Observer

PIXELS = np.random.default_rng(4).integers(0, 256, (3, 3072), np.uint8)


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ONECYCLE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_fine_labels_pixels_and_classes(tmp_path: Path) -> None:
    folder = write_cifar100(tmp_path)
    (folder / "train").write_bytes(batch_100_bytes(PIXELS, [99, 0, 42], coarse_labels=[1, 2, 3]))
    train, test = cifar100(data_dir=tmp_path)
    assert train.labels.tolist() == [99, 0, 42]
    assert np.array_equal(train.images_nhwc[1], np.moveaxis(PIXELS[1].reshape(3, 32, 32), 0, 2))
    assert train.classes == test.classes == CLASSES_100
    assert len(test) == 100


def test_found_in_a_folder_the_folder_itself_and_the_archive(tmp_path: Path) -> None:
    folder = write_cifar100(tmp_path / "folder")
    expected = cifar100(data_dir=tmp_path / "folder").train.fingerprint()
    (tmp_path / "archive").mkdir()
    members = {f"{FOLDER_100}/{name}": content for name, content in small_cifar100(100).items()}
    write_archive(tmp_path / "archive" / LAYOUT.archive.name, {f"{FOLDER_100}/file.txt~": b"", **members})
    for place in (folder, tmp_path / "archive"):
        assert cifar100(data_dir=place).train.fingerprint() == expected


def test_both_sets_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    assert failure(lambda: cifar100(data_dir=tmp_path)).startswith(
        f"{tmp_path}: holds no CIFAR-100; {FOLDER_100}/ or cifar-100-python.tar.gz"
    )
    write_cifar100(tmp_path)
    assert len(cifar10(data_dir=tmp_path).train.classes) == 10
    assert len(cifar100(data_dir=tmp_path).train.classes) == 100


def test_missing_data_is_said_with_the_way_to_get_it(tmp_path: Path) -> None:
    message = failure(lambda: cifar100(data_dir=tmp_path))
    assert f"`onecycle data fetch cifar100 --data-dir {tmp_path}`" in message
    assert "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz" in message


def test_folders_named_train_and_test_are_no_cifar_100(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    assert failure(lambda: cifar100(data_dir=tmp_path)).startswith(f"{tmp_path}: holds no CIFAR-100")


DAMAGED = {
    "label 100": (
        "train",
        batch_100_bytes(PIXELS, [0, 100, 1], coarse_labels=[0, 0, 0]),
        "has fine_labels that are not 0 to 99",
    ),
    "too few labels": ("test", batch_100_bytes(PIXELS, [0, 1]), "has no fine_labels, a list of 3"),
    "narrow": ("train", batch_100_bytes(PIXELS[:, :1024], [0, 1, 2]), "has no data of uint8 [N, 3072] but [3, 1024]"),
    "ninety-nine names": ("meta", meta_100_bytes(CLASSES_100[:99]), "has no fine_label_names, a list of 100 names"),
    "names twice": ("meta", meta_100_bytes([*CLASSES_100[:99], "bee"]), "has fine_label_names that repeat"),
    "code": ("test", b"\x80\x02cos\nsystem\nU\x04true\x85R.", "names something to import at byte 3"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_named(tmp_path: Path, case: str) -> None:
    name, content, reason = DAMAGED[case]
    path = write_cifar100(tmp_path) / name
    path.write_bytes(content)
    message = failure(lambda: cifar100(data_dir=tmp_path))
    assert message.startswith(f"{path}: {reason}")
    assert f"the official file has {LAYOUT.files[name][1]}" in message
    assert "`onecycle data fetch cifar100` gets all anew" in message


def test_the_names_are_the_official_ones() -> None:
    content = meta_100_bytes()
    assert (len(content), hashlib.md5(content).hexdigest()) == LAYOUT.files["meta"]


def test_the_published_digests() -> None:
    archive = ARCHIVES["cifar100"]
    assert (archive.size, archive.md5) == (169001437, "eb9058c3a382ffc7106e4002c42a8d85")
    assert archive.sha256 == "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"


def test_the_command_describes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cifar100(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["data", "info", "cifar100", "--data-dir", str(tmp_path), "--json"])
    assert ended.value.code == 0
    assert '"worm": 1' in capsys.readouterr().out


def test_a_training_has_a_hundred_classes(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 100))
    recipe = small_recipe(**{"data.name": "cifar100", "precision": "fp32"})
    run = onecycle.train(recipe, model=net, data_dir=tmp_path, out=tmp_path / "run", device="cpu", observer=Observer())
    assert run.predictions()["logits"].shape == (100, 100)
    assert run.classes == CLASSES_100
    assert run.summary["data"] == "cifar100"
