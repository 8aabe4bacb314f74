"""CIFAR-10 from its folder or archive, and what is said of those that are damaged."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from cifar_files import (
    BATCHES,
    CLASSES,
    FOLDER,
    batch_bytes,
    failure,
    meta_bytes,
    small_cifar10,
    write_archive,
    write_cifar10,
    write_cifar10_archive,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onecycle.data import cifar, cifar_source, tar_stream
from onecycle.data.batch_pickle import read_batch_pickle
from onecycle.data.cifar import cifar10
from onecycle.errors import UserError

OFFICIAL = cifar.LAYOUT.files
OFFICIAL_DATA = os.environ.get("ONECYCLE_DATA", "")
with_official_data = pytest.mark.skipif(not OFFICIAL_DATA, reason="ONECYCLE_DATA does not say where CIFAR-10 is")


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ONECYCLE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# --- where the data is -------------------------------------------------------------------------------------------


def test_pixels_labels_and_classes(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    pixels = {name: random.integers(0, 256, (4, 3072), np.uint8) for name in BATCHES}
    folder = write_cifar10(tmp_path, 1)
    for name in BATCHES:
        (folder / name).write_bytes(batch_bytes(pixels[name], [9, 0, 3, 3]))
    train, test = cifar10(data_dir=tmp_path)
    assert train.images_nhwc.shape == (20, 32, 32, 3)
    assert train.images_nhwc.flags.c_contiguous
    assert train.images_nhwc.flags.writeable
    assert train.classes == test.classes == CLASSES
    assert train.labels.tolist() == [9, 0, 3, 3] * 5
    # A row of a file is the red plane, the green, the blue, each row by row.
    expected = pixels["data_batch_2"][1].reshape(3, 32, 32)
    assert np.array_equal(train.images_nhwc[5], np.moveaxis(expected, 0, 2))
    assert np.array_equal(test.images_nhwc[3, :, :, 2].ravel(), pixels["test_batch"][3, 2048:])


def test_found_in_a_folder_the_folder_itself_and_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = write_cifar10(tmp_path / "folder")
    (tmp_path / "archive").mkdir()
    write_cifar10_archive(tmp_path / "archive")
    expected = cifar10(data_dir=tmp_path / "folder").train.fingerprint()
    for place in (inner, tmp_path / "archive"):
        assert cifar10(data_dir=place).train.fingerprint() == expected
    monkeypatch.setenv("ONECYCLE_DATA", str(tmp_path / "archive"))
    assert cifar10().train.fingerprint() == expected
    monkeypatch.delenv("ONECYCLE_DATA")
    write_cifar10(tmp_path / "cache" / "onecycle")
    assert cifar10().train.fingerprint() == expected


def test_data_dir_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path / "named", 2)
    write_cifar10(tmp_path / "environment", 3)
    monkeypatch.setenv("ONECYCLE_DATA", str(tmp_path / "environment"))
    assert len(cifar10(data_dir=tmp_path / "named").test) == 2
    assert len(cifar10().test) == 3


def test_the_archive_is_not_unpacked(tmp_path: Path) -> None:
    archive = write_cifar10_archive(tmp_path)
    cifar10(data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == [archive]


def test_missing_data_is_said_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = failure(cifar10)
    for part in (str(tmp_path / "cache" / "onecycle"), FOLDER, "cifar-10-python.tar.gz", "onecycle data fetch cifar10"):
        assert part in message
    assert f"{tmp_path / 'none'}: no such folder" in failure(lambda: cifar10(data_dir=tmp_path / "none"))
    assert f"{tmp_path}: holds no CIFAR-10" in failure(lambda: cifar10(data_dir=tmp_path))
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'}: not a folder" in failure(lambda: cifar10(data_dir=tmp_path / "file"))
    assert "x" * 300 in failure(lambda: cifar10(data_dir=tmp_path / ("x" * 300)))
    monkeypatch.setenv("ONECYCLE_DATA", str(tmp_path / "elsewhere"))
    assert f"{tmp_path / 'elsewhere'}: no such folder" in failure(cifar10)


def test_other_image_sizes_are_refused(tmp_path: Path) -> None:
    assert "data.image_size is 64; CIFAR-10 has 32" in failure(lambda: cifar10(data_dir=tmp_path, image_size=64))


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    (folder / "data_batch_3").unlink()
    (folder / "batches.meta").unlink()
    message = failure(lambda: cifar10(data_dir=tmp_path))
    assert message.startswith(f"{folder}: data_batch_3, batches.meta missing")


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    (folder / "data_batch_3").unlink()
    os.mkfifo(folder / "data_batch_3")
    assert failure(lambda: cifar10(data_dir=tmp_path)).startswith(f"{folder / 'data_batch_3'}: not a file")


def test_files_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar10(tmp_path)
    with (folder / "test_batch").open("wb") as file:
        file.truncate(cifar.LAYOUT.max_file_bytes + 1)
    assert failure(lambda: cifar10(data_dir=tmp_path)).startswith(f"{folder / 'test_batch'}: larger than")


# --- damaged archives --------------------------------------------------------------------------------------------


def test_a_cut_archive(tmp_path: Path) -> None:
    archive = write_cifar10_archive(tmp_path)
    whole = archive.read_bytes()
    for length in (0, 1, 20, len(whole) // 2):
        archive.write_bytes(whole[:length])
        message = failure(lambda: cifar10(data_dir=tmp_path))
        assert message.startswith(f"{archive}: damaged")
        assert hashlib.md5(whole[:length]).hexdigest() in message
        assert "c58f30108f718f92721af3b95e74349a" in message


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 511), value=st.integers(0, 255))
def test_a_damaged_header_in_the_archive(tmp_path: Path, position: int, value: int) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    if not archive.exists():
        write_cifar10_archive(tmp_path, 1)
    tar = bytearray(gzip.decompress(archive.read_bytes()))
    tar[position] = value
    (tmp_path / "other").mkdir(exist_ok=True)
    (tmp_path / "other" / archive.name).write_bytes(gzip.compress(tar, 1))
    try:
        cifar10(data_dir=tmp_path / "other")
    except UserError as error:
        assert archive.name in str(error)


def test_members_under_other_names_are_not_taken(tmp_path: Path) -> None:
    files = small_cifar10(2)
    members = {f"{FOLDER}/{name}": content for name, content in files.items() if name != "test_batch"}
    others = {f"../{FOLDER}/test_batch": files["test_batch"], f"/{FOLDER}/test_batch": files["test_batch"]}
    archive = write_archive(tmp_path / "cifar-10-python.tar.gz", members | others)
    assert f"{archive}: damaged (test_batch missing" in failure(lambda: cifar10(data_dir=tmp_path))


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_stream, "MAX_UNPACKED_BYTES", 100_000)
    archive = write_archive(tmp_path / "cifar-10-python.tar.gz", {f"{FOLDER}/other": bytes(2_000_000)})
    message = failure(lambda: cifar10(data_dir=tmp_path))
    assert message.startswith(f"{archive}: damaged (more than")


def test_a_damaged_batch_in_the_archive(tmp_path: Path) -> None:
    members = {f"{FOLDER}/{name}": content for name, content in small_cifar10(2).items()}
    members[f"{FOLDER}/data_batch_4"] = b"\x80\x02}"
    archive = write_archive(tmp_path / "cifar-10-python.tar.gz", members)
    assert failure(lambda: cifar10(data_dir=tmp_path)).startswith(f"{archive}:{FOLDER}/data_batch_4: is cut short")


# --- the official files ------------------------------------------------------------------------------------------


@with_official_data
def test_official_counts() -> None:
    train, test = cifar10(data_dir=Path(OFFICIAL_DATA))
    assert train.images_nhwc.shape == (50000, 32, 32, 3)
    assert test.images_nhwc.shape == (10000, 32, 32, 3)
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.classes == CLASSES
    mean, deviation = train.channel_statistics()
    assert np.allclose(mean, (0.4914, 0.4822, 0.4465), atol=5e-5)
    assert np.allclose(deviation, (0.2470, 0.2435, 0.2616), atol=5e-5)
    batch = official("data_batch_2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of its old module's name and of the way Python 2 wrote a dtype
        plain = pickle.loads(batch, encoding="bytes")
    expected = plain[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(train.images_nhwc[10000:20000], expected)
    assert train.labels[10000:20000].tolist() == plain[b"labels"]


@with_official_data
def test_official_digests() -> None:
    for name, (size, md5) in OFFICIAL.items():
        content = official(name)
        assert (len(content), hashlib.md5(content).hexdigest()) == (size, md5)


@with_official_data
def test_the_test_files_are_written_as_the_official_ones() -> None:
    assert meta_bytes() == official("batches.meta")
    content = official("test_batch")
    found = read_batch_pickle(content)
    assert content == batch_bytes(
        found[b"data"],  # type: ignore[arg-type]
        found[b"labels"],  # type: ignore[arg-type]
        batch_label=found[b"batch_label"],  # type: ignore[arg-type]
        filenames=found[b"filenames"],  # type: ignore[arg-type]
    )


def official(name: str) -> bytes:
    files = cifar_source.find(cifar.LAYOUT, Path(OFFICIAL_DATA), None)
    return files[name].read()
