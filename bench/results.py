"""What a scenario found, beside its reference and its aim."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Self

from bench.load.load import Took

BUSY = 0.9  # of a core: above it the load generator may be what was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one party. `load_share` of a core is what the load generator took, `details` are further numbers."""

    value: float
    load_share: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)


def rate(took: Took, count: int, server_cpu_s: float | None = None) -> Sample:
    """So many in the time that was taken; with the CPU of the server for each, and what it took of its core."""
    details = {"count": float(count)}
    if server_cpu_s is not None:
        details |= {"server CPU µs": server_cpu_s / count * 1e6, "server share of core": server_cpu_s / took.wall_s}
    return Sample(value=count / took.wall_s, load_share=took.load_share, details=details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """All rounds of one party."""

    rounds: Sequence[Sample]

    @classmethod
    def one(cls, value: float, load_share: float | None = None, details: Mapping[str, float] | None = None) -> Self:
        """Of what is measured once."""
        return cls(rounds=[Sample(value=value, load_share=load_share, details=details or {})])

    @classmethod
    def spread(cls, values: Sequence[float]) -> Self:
        """The median of so many that only the fastest and the slowest are worth keeping."""
        return cls.one(statistics.median(values), details={"fastest": min(values), "slowest": max(values)})

    @property
    def median(self) -> float:
        return statistics.median(sample.value for sample in self.rounds)

    @property
    def load_share(self) -> float | None:
        """Of the busiest round."""
        return max((sample.load_share for sample in self.rounds if sample.load_share is not None), default=None)

    @property
    def details(self) -> dict[str, float]:
        names = self.rounds[0].details
        return {name: statistics.median(sample.details[name] for sample in self.rounds) for name in names}


def take_turns(rounds: int, **parties: Callable[[], Sample]) -> dict[str, Samples]:
    """A B A B …: what disturbs the machine for a while disturbs all."""
    taken: dict[str, list[Sample]] = {name: [] for name in parties}
    for _ in range(rounds):
        for name, measure in parties.items():
            taken[name].append(measure())
    return {name: Samples(rounds=samples) for name, samples in taken.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What should come out: of the ratio, or of the value itself."""

    bound: float
    of: Literal["ratio", "value"]
    at_least: bool

    def is_met(self, row: "Row") -> bool:
        number = row.ratio if self.of == "ratio" else row.value
        assert number is not None, "an aim for a ratio needs a reference"
        return number >= self.bound if self.at_least else number <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def ratio_at_least(bound: float) -> Aim:
    return Aim(bound=bound, of="ratio", at_least=True)


def ratio_at_most(bound: float) -> Aim:
    return Aim(bound=bound, of="ratio", at_least=False)


def value_at_most(bound: float) -> Aim:
    return Aim(bound=bound, of="value", at_least=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`value` and `reference` are medians of the rounds, in `unit`. A row without a value says why in `note`.

    `ratio` is the median of the ratios within the rounds: the parties of one round met the machine at the same speed.
    """

    scenario: str
    name: str
    unit: str
    value: float | None = None
    reference_name: str = ""
    reference: float | None = None
    aim: Aim | None = None
    load_share: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    reference_details: Mapping[str, float] = field(default_factory=dict)
    rounds: Sequence[float] = ()
    reference_rounds: Sequence[float] = ()
    note: str = ""
    has_failed: bool = False

    @property
    def ratio(self) -> float | None:
        if self.value is None or not self.reference:
            return None
        if len(self.rounds) != len(self.reference_rounds) or not self.rounds:
            return self.value / self.reference
        turns = zip(self.rounds, self.reference_rounds, strict=True)
        return statistics.median(value / reference for value, reference in turns)

    @property
    def met(self) -> bool | None:
        return self.aim.is_met(self) if self.aim is not None and self.value is not None else None

    @property
    def load_was_busy(self) -> bool:
        return self.load_share is not None and self.load_share > BUSY

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"ratio": self.ratio, "met": self.met, "load_was_busy": self.load_was_busy}


def row(
    scenario: str,
    name: str,
    unit: str,
    samples: Samples,
    *,
    against: Samples | None = None,
    reference_name: str = "",
    aim: Aim | None = None,
    note: str = "",
) -> Row:
    parties = [samples, against] if against else [samples]
    shares = [party.load_share for party in parties if party.load_share is not None]
    return Row(
        scenario=scenario,
        name=name,
        unit=unit,
        value=samples.median,
        reference_name=reference_name,
        reference=against.median if against else None,
        aim=aim,
        load_share=max(shares, default=None),
        details=samples.details,
        reference_details=against.details if against else {},
        rounds=[sample.value for sample in samples.rounds],
        reference_rounds=[sample.value for sample in against.rounds] if against else (),
        note=note,
    )
