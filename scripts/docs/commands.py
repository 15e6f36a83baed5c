"""The command line reference: every command of the application as Markdown, from the application itself."""

from typing import Any

from typer import Context
from typer.main import get_command

from contour.cli.main import PROGRAM, build_app


def commands_page() -> str:
    """Markdown with a section for each command and group, in the order of `contour --help`."""
    top = get_command(build_app())
    context = Context(top, info_name=PROGRAM)
    return "\n".join(_section(context, command, name) for name, command in _children(top))


def _section(parent: Context, command: Any, name: str) -> str:
    """A command with its options, or a group with its commands."""
    context = Context(command, info_name=name, parent=parent)
    depth = context.command_path.count(" ") + 1
    lines = [f"{'#' * depth} {context.command_path}\n", f"{_text(command.help)}\n"]
    if _children(command):
        return "\n".join([*lines, *(_section(context, child, child_name) for child_name, child in _children(command))])
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines.append(f"```text\n{usage}\n```\n")
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None and "--help" not in param.opts:
            named, about = record
            lines.append(f"`{' '.join(named.split())}`\n: {_text(about) or ' '}\n")
    if command.epilog:
        lines.append(f"{_examples(command.epilog)}\n")
    return "\n".join(lines)


def _children(command: Any) -> list[tuple[str, Any]]:
    return [(name, child) for name, child in getattr(command, "commands", {}).items() if not child.hidden]


def _text(text: str | None) -> str:
    """Prose for Markdown: one paragraph a blank line, and nothing in it taken for markup."""
    paragraphs = [" ".join(part.split()) for part in (text or "").split("\n\n")]
    return "\n\n".join(part.replace("<", "\\<").replace("*", "\\*").replace("[", "\\[") for part in paragraphs)


def _examples(epilog: str) -> str:
    """The examples of a command's help, as they are typed."""
    lines = [line.strip() for line in epilog.splitlines() if line.strip().startswith(PROGRAM + " ")]
    return "```console\n" + "\n".join(lines) + "\n```"
