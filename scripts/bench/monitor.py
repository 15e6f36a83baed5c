"""Simulated years of edits: does a planted drift raise the flag, and none where there is none?

    python -m scripts.bench.monitor [--years 200] [--cases 250] [--structures 10]

Each structure of each case is edited by a part of its contours: nothing in some cases, else log-normal, with a median
of 8 % and a spread that differs between structures; half of what varies is the case's own, common to its structures.
From the middle of the year on a drift multiplies what is edited of one structure, or of all. A year counts as flagged
with one flag on any chart; delay is counted in cases after the drift began.
"""

import argparse

import numpy as np

from contour.services.monitor.charts import chart, chart_together

DRIFTS = ((1.0, 0), (1.5, 1), (2.0, 1), (3.0, 1), (1.3, 99), (1.5, 99), (2.0, 99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--years", type=int, default=200)
    parser.add_argument("--cases", type=int, default=250)
    parser.add_argument("--structures", type=int, default=10)
    arguments = parser.parse_args()
    print("| edits grow by | of | years flagged after it | flagged before, or without | median delay, cases |")
    print("|---|---|---|---|---|")
    for factor, drifting in DRIFTS:
        rng = np.random.default_rng(7)
        rows = [year(rng, arguments.cases, arguments.structures, (factor, drifting)) for _ in range(arguments.years)]
        begins = arguments.cases // 2 if drifting else arguments.cases
        early = [min(r) for r in rows if r and min(r) < begins]
        after = [min(r) - begins for r in rows if r and min(r) >= begins]
        delay = f"{np.median(after):.0f}" if after else "-"
        what = "none" if not drifting else "one structure" if drifting == 1 else "all structures"
        share = f"{100 * len(after) / len(rows):.0f} %" if drifting else "-"
        print(f"| {factor:g} | {what} | {share} | {100 * len(early) / len(rows):.1f} % | {delay} |", flush=True)


def year(rng: np.random.Generator, cases: int, structures: int, drift: tuple[float, int]) -> list[int]:
    """The places of the first flags of a year's charts."""
    factor, drifting = drift
    own = rng.standard_normal(cases)
    drawn = []
    for number in range(structures):
        spread = rng.uniform(0.5, 1.1)
        noise = np.sqrt(0.5) * own + np.sqrt(0.5) * rng.standard_normal(cases)
        parts = 0.08 * np.exp(spread * noise) * (rng.random(cases) > rng.uniform(0.0, 0.4))
        if number < drifting:
            parts[cases // 2 :] *= factor
        drawn.append(np.minimum(parts, 1.0))
    times = [""] * cases
    found = (chart_together(np.array(drawn), times), *(chart("", parts.tolist(), times) for parts in drawn))
    return [one.flagged for one in found if one.flagged is not None]


if __name__ == "__main__":
    main()
