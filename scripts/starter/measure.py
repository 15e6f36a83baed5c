"""Measures a package on its recipe's validation cases, through the path that ships.

    python -m scripts.starter.measure PACKAGE --data DATA [--work runs/PACKAGE] [--folder models/PACKAGE]

Prints the figures in Markdown. What was drawn, all scores, and a picture of each structure's worst case are left in the
work folder; a measurement that was stopped goes on there.
"""

import argparse
from collections.abc import Iterable
from math import isinf
from pathlib import Path

from contour.cases.evaluate import EvaluateOptions, drawn_structure, evaluate
from contour.cases.evaluation import Evaluation
from contour.cases.pictures import comparison
from contour.cases.score import CaseScore, Measure
from contour.cases.store import load_image, load_record, load_structure
from contour.cases.summary import StructureSummary
from contour.config import shipped_folder
from contour.imaging.metrics import CompareOptions, within
from contour.imaging.scene import Scene
from contour.inference.package import load_package
from contour.inference.session import open_network
from contour.library import load_protocol, locator_for
from scripts.starter.recipe import Recipe, ValidationSet
from scripts.starter.recipes import recipe_of

COLUMNS = ("structure", "cases", "not found", "Dice", "10th percentile", "surface Dice {mm:g} mm", "HD95 mm", "worst")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", help="the name of a recipe")
    parser.add_argument("--data", type=Path, required=True, help="the folder of public images and labels")
    parser.add_argument("--work", type=Path, help="where cases and results go; runs/PACKAGE by default")
    parser.add_argument("--folder", type=Path, help="the package to measure; the shipped one by default")
    given = parser.parse_args()
    recipe = recipe_of(given.package)
    folder = given.folder or shipped_folder("models") / recipe.name
    print(measure(recipe, folder, given.data, given.work or Path("runs") / recipe.name))


def measure(recipe: Recipe, package: Path, data: Path, work: Path) -> str:
    """The figures of `package` in Markdown: a table for each set of validation cases, and what the recipe adds."""
    network = open_network(load_package(package))
    protocol = load_protocol(recipe.protocol)
    locating = locator_for(protocol, (shipped_folder("models"),))
    options = EvaluateOptions(
        tolerances_mm=(recipe.tolerance_mm, recipe.tolerance_mm / 2),
        overwrite=True,
        locator=open_network(locating) if locating else None,
    )
    parts = []
    for group in recipe.validation(data, work / "validation"):
        output = work / "measured" / group.name
        found = evaluate(group.cases, protocol, (network,), output, options=options)
        picture_worst(found, group, output)
        parts.append(figures(found, group))
    if recipe.measure is not None:
        parts.append(recipe.measure(package, data))
    return "\n\n".join(parts)


def figures(found: Evaluation, group: ValidationSet) -> str:
    """A title and a table with a line for each structure: medians, the poor end, and which case is the worst."""
    head = " | ".join(COLUMNS).format(mm=found.tolerances_mm[0])
    lines = [f"**{group.title}** ({len(found.cases)} cases)", "", f"| {head} |", "|---" * len(COLUMNS) + "|"]
    for line in found.structures:
        lines.append(_row(line, worst_score(found.scores, line.structure)))
    refused = [f"{case.case} ({case.failure})" for case in found.cases if case.failure]
    if refused:
        lines += ["", f"Refused, and counted as not found: {'; '.join(refused)}."]
    return "\n".join(lines)


def worst_score(scores: Iterable[CaseScore], structure: str) -> CaseScore:
    """The score of the case in which `structure` has the lowest Dice.

    Raises:
        ValueError: it counts in no case.
    """
    return min((s for s in scores if s.structure == structure and s.counts), key=lambda s: s.value(Measure.DICE))


def picture_worst(found: Evaluation, group: ValidationSet, output: Path) -> None:
    """`<output>/worst/<STRUCTURE>.png`: the worst case of each structure in three planes, where it differs most."""
    folders = {path.name: path for path in group.cases}
    results = {result.case: result for result in found.cases}
    (output / "worst").mkdir(exist_ok=True)
    for line in found.structures:
        one = worst_score(found.scores, line.structure)
        folder = folders[one.case]
        record = load_record(folder)
        drawn = drawn_structure(output, record, results[one.case], one.structure)
        both = [load_structure(folder, record, one.structure), drawn]
        reference, test = (within(structure, CompareOptions((0.0,), one.slices)) for structure in both)
        png = comparison(Scene(load_image(folder, record)), reference, test)
        (output / "worst" / f"{one.structure}.png").write_bytes(png)


def _row(line: StructureSummary, worst: CaseScore) -> str:
    dice, surface, hd95 = (line.measure(m) for m in (Measure.DICE, Measure.SURFACE_DICE, Measure.HD95_MM))
    cells = (
        line.structure,
        str(line.cases),
        str(line.not_found),
        f"{dice.median:.3f}",
        f"{dice.poor:.3f}",
        f"{surface.median:.3f}",
        "infinite" if isinf(hd95.median) else f"{hd95.median:.1f}",
        f"{worst.case} ({worst.value(Measure.DICE):.3f})",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
