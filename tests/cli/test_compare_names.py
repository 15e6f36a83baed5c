"""Which structures of two sets are one: TG-263's tilde marks a part of the same organ."""

import numpy as np
import pytest

from contour.cli.compare import same_names
from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Structure, StructureSet

GRID = Geometry.axial((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "2.25.1")


def named(*names: str) -> StructureSet:
    voxel = np.ones((1, 1, 1), dtype=bool)
    made = (Structure(name, (0, 0, 0), InterpretedType.ORGAN, voxel, (0, 0, 0)) for name in names)
    return StructureSet("SET", GRID, tuple(made))


@pytest.mark.parametrize(
    ("reference", "test", "pairs"),
    [
        (("Liver",), ("~Liver",), [("Liver", "~Liver")]),
        (("~liver",), ("Liver",), [("~liver", "Liver")]),
        (("~Liver",), ("~Liver",), [("~Liver", "~Liver")]),
        (("Liver",), ("~Liver", "Liver"), [("Liver", "Liver")]),
        (("liver",), ("~Liver", "LIVER"), []),  # which of the two it is, a person must say
        (("Liver",), ("~Spleen",), []),
    ],
)
def test_a_part_is_compared_with_its_organ(
    reference: tuple[str, ...], test: tuple[str, ...], pairs: list[tuple[str, str]]
) -> None:
    assert same_names(named(*reference), named(*test)) == pairs
