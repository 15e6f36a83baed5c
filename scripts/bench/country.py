"""A country's automatic contouring, simulated: where should the machines stand, and how many must there be?

    python -m scripts.bench.country [--years 3] [--settings scripts/bench/country.yaml]

Centres of different sizes send cases in working hours, most of them in the morning; each case is drawn by a worker of
two processors. Compared are a machine in each centre, one for each region, and one for the country, the latter two over
links that carry one case at a time and fail now and then, as machines do: a case waits until they are repaired. Waiting
counts from the moment a scan is complete to its structure set being back, drawing included.
"""

import argparse
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import simpy

from contour.config import load_config

SETTINGS = Path(__file__).with_suffix(".yaml")
HOUR = 3600.0
# The part of a day's cases by hour after opening: scans before noon, plans due in the afternoon.
BY_HOUR = np.array([1.0, 2.0, 2.0, 1.5, 1.0, 0.5, 1.0, 1.0, 0.5, 0.2])


@dataclass(frozen=True)
class CaseKind:
    """A kind of case: the seconds that drawing takes, the size of its series, and its share of all cases."""

    name: str
    seconds: float
    megabytes: float
    share: float


@dataclass(frozen=True)
class Country:
    """The content of the settings."""

    cases: tuple[CaseKind, ...]
    centres: int
    cases_a_year: tuple[float, float]
    working_days_a_year: int
    working_hours: tuple[int, int]
    megabits_a_second: float
    machine_fails_every_hours: float
    machine_repaired_hours: float
    link_fails_every_hours: float
    link_repaired_hours: float

    @property
    def volumes(self) -> list[float]:
        """Cases a year of each centre, from the smallest to the largest, evenly on a logarithmic scale."""
        return np.geomspace(*self.cases_a_year, self.centres).tolist()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Plan:
    """Where machines stand: for each centre which one it uses; workers of each; whether a link lies between."""

    name: str
    machine_of: tuple[int, ...]
    workers: int
    remote: bool

    @property
    def machines(self) -> int:
        """How many there are."""
        return len(set(self.machine_of))


@dataclass
class Tally:
    """What a simulation counted: waiting and drawing in seconds."""

    waits: list[float] = field(default_factory=list)
    drawn: float = 0.0


def plans(centres: int) -> tuple[Plan, ...]:
    """The ways to do it; regions hold a centre of each size."""
    return (
        Plan("a PC in each centre, 1 worker", tuple(range(centres)), 1, remote=False),
        Plan("a PC in each centre, 2 workers", tuple(range(centres)), 2, remote=False),
        Plan("a server in each of 4 regions, 2 workers", tuple(i % 4 for i in range(centres)), 2, remote=True),
        Plan("a server in each of 4 regions, 4 workers", tuple(i % 4 for i in range(centres)), 4, remote=True),
        Plan("one server, 1 worker", (0,) * centres, 1, remote=True),
        Plan("one server, 4 workers", (0,) * centres, 4, remote=True),
        Plan("two servers that share one queue, 2 workers each", (0,) * centres, 4, remote=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--years", type=int, default=3)
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    arguments = parser.parse_args()
    country = load_config(arguments.settings, Country)
    print(f"{sum(country.volumes):,.0f} cases a year in {country.centres} centres\n")
    print("| machines | processors in all | busy in working hours | median | 95 % | 99 % | longest | over an hour |")
    print("|---|---|---|---|---|---|---|---|")
    for plan in plans(country.centres):
        tally = simulate(country, plan, arguments.years)
        waits = np.array(tally.waits)
        hours = arguments.years * country.working_days_a_year * (country.working_hours[1] - country.working_hours[0])
        busy = tally.drawn / (hours * HOUR * plan.machines * plan.workers)
        middle, high, higher, worst = np.percentile(waits, (50, 95, 99, 100))
        print(
            f"| {plan.name} | {2 * plan.machines * plan.workers} | {100 * busy:.1f} % | {middle:.0f} s | {high:.0f} s "
            f"| {higher:.0f} s | {worst / HOUR:.1f} h | {100 * np.mean(waits > HOUR):.2f} % |",
            flush=True,
        )


def simulate(country: Country, plan: Plan, years: int) -> Tally:
    """Run `years` of days, each of 24 hours, of which some are worked."""
    rng = np.random.default_rng(20)
    world, tally = simpy.Environment(), Tally()
    # Two servers of half the workers each: one that fails leaves the other half.
    split = 2 if plan.name.startswith("two") else 1
    machines = [
        [simpy.PriorityResource(world, plan.workers // split) for _ in range(split)] for _ in range(plan.machines)
    ]
    for parts in machines:
        for part in parts:
            _breaks(world, part, (country.machine_fails_every_hours, country.machine_repaired_hours), rng)
    links = [simpy.PriorityResource(world, 1) for _ in range(country.centres)]
    for link in links if plan.remote else ():
        _breaks(world, link, (country.link_fails_every_hours, country.link_repaired_hours), rng)
    kinds = rng.choice(len(country.cases), 1 << 20, p=[kind.share for kind in country.cases])
    drawn = iter(kinds)
    for centre, volume in enumerate(country.volumes):
        for moment in _moments(country, volume, years, rng):
            kind = country.cases[next(drawn)]
            link = links[centre] if plan.remote else None
            world.process(_case(world, moment, kind, (link, machines[plan.machine_of[centre]]), (country, tally)))
    world.run()
    return tally


def _moments(country: Country, volume: float, years: int, rng: np.random.Generator) -> list[float]:
    """When cases are complete, in seconds: a Poisson number a day, by hour as people work."""
    opens, closes = country.working_hours
    weights = np.resize(BY_HOUR, closes - opens)
    weights = weights / weights.sum()
    found: list[float] = []
    for day in range(years * country.working_days_a_year):
        count = rng.poisson(volume / country.working_days_a_year)
        hours = rng.choice(len(weights), count, p=weights) + rng.random(count) + opens
        found += ((24 * day + hours) * HOUR).tolist()
    return found


def _case(
    world: simpy.Environment,
    moment: float,
    kind: CaseKind,
    way: tuple[simpy.PriorityResource | None, list[simpy.PriorityResource]],
    about: tuple[Country, Tally],
) -> Generator[Any, Any, None]:
    (link, machines), (country, tally) = way, about
    yield world.timeout(moment)
    if link is not None:
        with link.request(priority=1) as turn:
            yield turn
            yield world.timeout(8 * kind.megabytes / country.megabits_a_second)
    machine = min(machines, key=lambda one: one.count + len(one.queue))
    with machine.request(priority=1) as turn:
        yield turn
        yield world.timeout(kind.seconds)
    tally.drawn += kind.seconds
    tally.waits.append(world.now - moment)


def _breaks(
    world: simpy.Environment, what: simpy.PriorityResource, hours: tuple[float, float], rng: np.random.Generator
) -> None:
    """Has `what` fail now and then: all of it is taken, before whatever waits, until it is repaired."""
    every, repaired = hours

    def breaking() -> Generator[Any, Any, None]:
        for wait in rng.exponential(every * HOUR, 200):
            yield world.timeout(wait)
            turns = [what.request(priority=0) for _ in range(what.capacity)]
            for turn in turns:
                yield turn
            yield world.timeout(rng.exponential(repaired * HOUR))
            for turn in turns:
                what.release(turn)

    world.process(breaking())


if __name__ == "__main__":
    main()
