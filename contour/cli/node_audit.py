"""`contour node audit`: is the audit trail what was written?"""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cli.failures import ExitCode
from contour.cli.options import Json
from contour.cli.terminal import messages, output, print_json
from contour.core.errors import ConfigError
from contour.services.audit_trail import AuditHead, head_of, verify


def verify_trail(
    file: Annotated[Path, typer.Argument(help="Audit trail: audit.jsonl in the node's storage.")],
    secret: Annotated[
        Path | None, typer.Option("--secret", help="The node's secret; by default secret.key beside the trail.")
    ] = None,
    head: Annotated[
        str | None, typer.Option("--head", help="LINES:SHA256 as this command printed earlier: nothing may lack since.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify the chain of an audit trail. Exit code 2 if a line was changed, removed, put in or moved."""
    place = secret or file.with_name("secret.key")
    if not file.is_file():
        raise ConfigError(str(file), "is not there", "an audit trail")
    key = place.read_bytes().strip() if secret is not None or place.is_file() else b""
    faults = verify(file, key, _head(head))
    now = head_of(file)
    if as_json:
        lines = [{"line": fault.line, "message": fault.message} for fault in faults]
        print_json({"faults": lines, "lines": now.lines, "sha256": now.sha256})
    else:
        for fault in faults:
            messages().print(f"[bold red]Line {fault.line}[/] {escape(fault.message)}", soft_wrap=True)
        if not faults:
            output().print(f"[bold green]Whole[/] {now.lines} lines; keep elsewhere: --head {now.lines}:{now.sha256}")
    if faults:
        raise typer.Exit(ExitCode.REFUSED)


def _head(text: str | None) -> AuditHead | None:
    if text is None:
        return None
    lines, _, sha256 = text.partition(":")
    if not lines.isdecimal() or len(sha256) != 64:
        raise typer.BadParameter("LINES:SHA256, as this command prints it", param_hint="--head")
    return AuditHead(int(lines), sha256)
