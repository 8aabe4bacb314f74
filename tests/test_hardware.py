"""What onecycle asks of the machine."""

import platform
import subprocess
import sys

import pytest
import torch

from onecycle.hardware import device_name, environment

pytest.importorskip("resource", reason="counts page faults as Unix does")

# In a process of its own: in one that has run for long, the heap may hold a hole that a large tensor fits in.
COUNTING = """
import resource
import torch
from onecycle.hardware import reused_memory

def page_faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.zeros(48 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with reused_memory(torch.device("meta")):
    left_alone = page_faults(20)
with reused_memory(torch.device("cpu")):
    page_faults(10)  # until the heap has room
    inside = page_faults(20)
print(left_alone, inside, page_faults(20))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason=f"no glibc on {sys.platform}")
def test_memory_is_given_out_again_without_new_pages_where_the_device_is_the_processor() -> None:
    told = subprocess.run([sys.executable, "-c", COUNTING], capture_output=True, text=True, check=True)
    left_alone, inside, outside = map(int, told.stdout.split())
    # A round's 48 MiB are 12,288 pages of 4 KiB, or 24 huge ones; Python's own small objects may spoil a hole or two.
    assert inside < min(left_alone, outside) / 4


def test_passwords_in_addresses_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["search", "--storage", "postgresql://me:s3:cret@host:5432/name", "--storage=mysql://u:p@h/n", "a@b:c/d"]
    monkeypatch.setattr(sys, "argv", words)
    kept = ["search", "--storage", "postgresql://me:***@host:5432/name", "--storage=mysql://u:***@h/n", "a@b:c/d"]
    assert environment(torch.device("cpu"))["argv"] == kept


def test_two_processors_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for vectors in ("AVX512", "AVX2"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda vectors=vectors: vectors)
        names.append(device_name(torch.device("cpu")))
    first, second = names
    threads = f", {torch.get_num_threads()} thread"
    assert first.partition(threads)[:2] == (second.partition(threads)[0].removesuffix(" (AVX2)"), threads)
    assert second.partition(threads)[0].endswith(" (AVX2)")
