"""What onecycle asks of the machine."""

import platform
import sys

import pytest
import torch

from onecycle.hardware import reused_memory

resource = pytest.importorskip("resource", reason="counts page faults as Unix does")


def page_faults(rounds: int = 5) -> int:
    """Page faults over some rounds of a large tensor that comes and goes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.zeros(48 << 20, dtype=torch.uint8)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt) - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason=f"no glibc on {sys.platform}")
def test_memory_is_given_out_again_without_new_pages() -> None:
    with reused_memory(torch.device("cpu")):
        page_faults(10)  # until the heap has room
        inside = page_faults()
    outside = page_faults()
    assert inside < 100 < outside  # 48 MiB are 12,288 pages of 4 KiB, or 24 huge ones


def test_a_device_with_its_own_allocator_is_left_alone() -> None:
    with reused_memory(torch.device("meta")):
        assert page_faults() > 100
