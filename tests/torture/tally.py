"""What was tried and what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tally:
    """The count of one kind of attack. `figure` is what was measured beside it, such as "slowest save 0.4 s"."""

    attack: str
    tried: int = 0
    lost: list[str] = field(default_factory=list)  # a line for each case that did not hold, enough to repeat it
    figure: str = ""

    def add(self, failure: str | None) -> None:
        """Count one case; `failure` says what did not hold, None that all did."""
        self.tried += 1
        if failure is not None:
            self.lost.append(failure)

    def check(self) -> None:
        """Raise AssertionError with every loss; for tests."""
        assert self.tried, f"{self.attack}: nothing was tried"
        assert not self.lost, f"{self.attack}: {len(self.lost)} of {self.tried} lost:\n" + "\n".join(self.lost)


def at_least(full: int, share: float, least: int = 1) -> int:
    """How many cases a share of the long version's is."""
    return max(round(full * share), least)
