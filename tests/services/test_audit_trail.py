import json
import multiprocessing
from pathlib import Path

import pytest

from contour.core.errors import ConfigError
from contour.services.audit_trail import AuditEvent, AuditTrail, verify

KEY = b"k" * 32


def filled(path: Path, count: int = 5, key: bytes = KEY) -> AuditTrail:
    trail = AuditTrail(path, key)
    for number in range(count):
        trail.append(AuditEvent("drawn", "node", f"series-{number}", {"result": f"2.25.{number}"}))
    return trail


def test_a_trail_is_whole_and_says_who_what_and_when(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    trail = filled(path)
    assert verify(path, KEY, trail.head()) == ()
    entry = json.loads(path.read_text(encoding="utf-8").splitlines()[2])
    assert (entry["number"], entry["who"], entry["what"], entry["subject"]) == (3, "node", "drawn", "series-2")
    assert entry["details"] == {"result": "2.25.2"}
    assert entry["when"].endswith("+00:00")


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    filled(path)
    AuditTrail(path, KEY).append(AuditEvent("sent", "node", "x"))
    assert verify(path, KEY) == ()
    assert AuditTrail(path, KEY).head().lines == 6


@pytest.mark.parametrize(
    ("tamper", "line"),
    [
        (lambda lines: [*lines[:1], lines[1].replace("2.25.1", "2.25.9"), *lines[2:]], 2),
        (lambda lines: [*lines[:2], *lines[3:]], 3),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),
        (lambda lines: [*lines[:4], "nonsense"], 5),
    ],
    ids=["changed", "removed", "moved", "repeated", "foreign"],
)
def test_tampering_is_noticed_at_its_place(tmp_path: Path, tamper: object, line: int) -> None:
    path = tmp_path / "audit.jsonl"
    filled(path)
    lines = tamper(path.read_text(encoding="utf-8").splitlines())  # type: ignore[operator]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    faults = verify(path, KEY)
    assert faults
    assert faults[0].line == line


def test_a_cut_end_shows_by_what_was_kept_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    head = filled(path).head()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:3]), encoding="utf-8")
    assert verify(path, KEY) == ()
    assert [fault.line for fault in verify(path, KEY, head)] == [4]


def test_a_trail_made_anew_without_the_secret_is_none(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    filled(path, key=b"")
    assert verify(path, b"") == ()
    assert len(verify(path, KEY)) == 5


def test_half_a_line_of_a_killed_writer_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    filled(path)
    with path.open("ab") as stream:
        stream.write(b'{"number": 6, "what": "dr')
    AuditTrail(path, KEY).append(AuditEvent("sent", "node", "x"))
    assert verify(path, KEY) == ()
    assert len(path.read_text(encoding="utf-8").splitlines()) == 6


def test_a_file_that_is_no_trail_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("hello\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no line of an audit trail"):
        AuditTrail(path)
    assert path.read_text(encoding="utf-8") == "hello\n"


def append_some(path: Path, name: str) -> None:
    trail = AuditTrail(path, KEY)
    for number in range(20):
        trail.append(AuditEvent("reviewed", name, str(number)))


def test_processes_append_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=append_some, args=(path, name)) for name in ("a", "b")]
    for other in others:
        other.start()
    append_some(path, "c")
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    assert verify(path, KEY) == ()
    assert AuditTrail(path, KEY).head().lines == 60
