from pathlib import Path

import pytest

from contour.cases.overrides import Override, Overrides, load_overrides, save_overrides
from contour.cases.store import Status
from contour.core.errors import ConfigError

STATED = Overrides(
    (
        Override("a", "Heart", Status.PARTIAL, (14, 46), reason="основание срезано"),
        Override("a", "Lung_L", name="Lung_R"),
        Override("*", "Heart", Status.DRAWN),
    )
)


def test_what_is_stated_of_a_case_counts_before_what_is_stated_of_all() -> None:
    assert STATED.of("a", "Heart") == STATED.overrides[0]
    assert STATED.of("b", "Heart") == STATED.overrides[2]
    assert STATED.of("b", "Lung_L") is None
    assert STATED.about("b") == (STATED.overrides[2],)


def test_overrides_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "overrides.yaml"
    save_overrides(STATED, path, "suggested")
    assert load_overrides(path) == STATED
    assert path.read_text(encoding="utf-8").startswith("# suggested\n")


@pytest.mark.parametrize(
    ("entry", "mistake"),
    [
        ("{case: a, structure: Heart}", "a status, a name, or both"),
        ("{case: a, structure: Heart, status: drawn in part}", "drawn_slices go with"),
        ("{case: a, structure: Heart, status: drawn, drawn_slices: [1, 2]}", "drawn_slices go with"),
        ("{case: a, structure: Heart, status: drawn in part, drawn_slices: [4, 2]}", "first and last"),
        ("{case: a, structure: Heart, status: half}", "one of drawn, drawn in part, not drawn or null"),
        ("{case: a, structure: Heart, name: ../x}", "allowed are letters"),
        ("{case: a, structure: Heart, status: drawn}, {case: a, structure: Heart, name: Liver}", "stands twice"),
    ],
)
def test_a_statement_that_contradicts_itself_is_refused(tmp_path: Path, entry: str, mistake: str) -> None:
    path = tmp_path / "overrides.yaml"
    path.write_text(f"overrides: [{entry}]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=mistake):
        load_overrides(path)
