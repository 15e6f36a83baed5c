import pytest

from contour.config import shipped_folder
from contour.core.errors import ConfigError
from contour.core.planning_system import GENERIC, LIMITS, HoleStyle, PlanningSystem
from contour.library import load_planning_system, planning_system_files

FILES = planning_system_files()


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_each_shipped_system_states_where_its_limits_come_from(path):
    system = load_planning_system(path.stem)
    assert system.name == path.stem
    stated = {limit for limit in LIMITS if getattr(system, limit) != getattr(GENERIC, limit)}
    stated |= {"name_length", "label_length", "contour_bytes"}
    assert stated <= set(system.sources)
    assert system.unknown


def test_the_generic_file_says_what_the_default_is():
    shipped = load_planning_system("generic")
    assert [getattr(shipped, limit) for limit in LIMITS] == [getattr(GENERIC, limit) for limit in LIMITS]


def test_a_site_brings_its_own(tmp_path):
    path = tmp_path / "ours.yaml"
    path.write_text("name: ours\ntitle: Ours\nname_length: 64\nholes: keyhole\ncontour_points: 400\n", encoding="utf-8")
    ours = load_planning_system(str(path))
    assert (ours.name_length, ours.holes, ours.most_points) == (64, HoleStyle.KEYHOLE, 400)


def test_the_fewer_points_count():
    assert PlanningSystem(contour_bytes=65534).most_points == 2184
    assert PlanningSystem(contour_bytes=65534, contour_points=100).most_points == 100
    assert PlanningSystem(contour_bytes=None).most_points is None


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"name_length": 0}, "name_length 0 of generic: 1 to 64"),
        ({"label_length": 17}, "label_length 17 of generic: 1 to 16"),
        ({"contour_points": 2}, "contour_points 2 of generic: at least 3"),
        ({"rois": 0}, "rois 0 of generic: at least 1"),
        ({"sources": {"colour": "hearsay"}}, "sources of colour: name_length, "),
    ],
)
def test_limits_that_no_file_could_keep(limits, said):
    with pytest.raises(ValueError, match=said):
        PlanningSystem(**limits)


def test_an_unknown_system_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError) as caught:
        load_planning_system("oncentra")
    assert "eclipse" in caught.value.allowed
    assert (shipped_folder("configs") / "tps" / "eclipse.yaml").is_file()
