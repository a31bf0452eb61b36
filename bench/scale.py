"""How much of everything."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The defaults are what the results in this folder were made with."""

    rounds: int = 7
    few_rounds: int = 3  # where a round takes long
    sessions: int = 1_000
    broadcasts: int = 100
    many_sessions: int = 10_000
    many_broadcasts: int = 20
    users: int = 200
    seconds: float = 2.0  # of a round that is as long as it is told to be
    paced_s: float = 4.0
    idle_s: float = 10.0
    flood_s: float = 60.0
    churned: int = 100_000
    records: int = 100_000  # of the ledger
    rows: int = 1_000_000  # of the database


FULL = Scale()
QUICK = Scale(
    rounds=3,
    few_rounds=1,
    sessions=200,
    broadcasts=50,
    many_sessions=1_000,
    many_broadcasts=20,
    users=50,
    seconds=0.5,
    paced_s=1.0,
    idle_s=5.0,
    flood_s=10.0,
    churned=2_000,
    records=10_000,
    rows=10_000,
)
