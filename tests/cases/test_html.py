import re
from pathlib import Path

import pytest

from contour.cases.html import (
    Cell,
    Column,
    Gallery,
    Page,
    Picture,
    Row,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Tone,
    render,
    write_page,
)

PNG = b"\x89PNG\r\n\x1a\n"


def page(*blocks: Tiles | Text | Table | Gallery) -> Page:
    return Page("Title", "Lead.", (Section("Part", blocks), Section("Folded", (Text(("More.",)),), folded=True)))


def table(*rows: Row) -> Table:
    return Table((Column("What", choices=True), Column("How much", numeric=True)), rows)


def test_text_is_never_markup() -> None:
    nasty = "<script>alert(\"x\")</script> & 'quotes'"
    cell = Cell(nasty, tone=Tone.STOP)
    blocks = (
        Tiles((Tile(nasty, nasty, nasty),)),
        Text((nasty,)),
        table(Row((cell, Cell("1", 1.0)), (nasty,), (Picture(PNG, nasty, nasty),))),
        Gallery((Picture(PNG, nasty, nasty),)),
    )
    found = render(Page(nasty, nasty, (Section(nasty, blocks),), ((nasty, nasty),), footer=nasty))
    assert "<script>alert" not in found
    assert 'alert("x")' not in found
    assert found.count("<script>") == 1  # its own
    assert found.count("&lt;script&gt;") > 10


def test_nothing_comes_from_elsewhere() -> None:
    found = render(page(Gallery((Picture(PNG, "a picture"),))))
    assert "http" not in found
    assert "@import" not in found
    assert re.findall(r'src="([^"]{0,22})', found) == ["data:image/png;base64,"]
    assert not re.findall(r"<link|url\(", found)


def test_rows_sort_by_number_and_open_to_their_pictures() -> None:
    rows = (
        Row((Cell("a"), Cell("1.0 ml", 1.0)), ("Remark.",), (Picture(PNG, "p"),)),
        Row((Cell("b"), Cell("endless", float("inf")))),
        Row((Cell("a"), Cell("-", float("nan")))),
    )
    found = render(page(table(*rows)))
    assert re.findall(r'data-order="([^"]*)"', found) == ["1.0", "Infinity", "NaN"]
    assert found.count('class="detail"') == found.count('class="opener"') == 1
    assert re.findall(r"<option>(.*?)</option>", found) == ["a", "b"]


def test_a_row_fits_its_table() -> None:
    with pytest.raises(ValueError, match="1 cells in a table of 2"):
        table(Row((Cell("a"),)))


def test_an_empty_table_says_so() -> None:
    found = render(page(Table((Column("What"),), (), empty="No findings.")))
    assert "No findings." in found
    assert "<table>" not in found


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    write_page(page(Text(("Сердце.",))), tmp_path / "report.html")
    assert "Сердце." in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
