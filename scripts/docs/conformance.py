"""Tables of the DICOM conformance statement, from what the node negotiates."""

from collections.abc import Iterable

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext

from contour.services.node.fetch import question_contexts
from contour.services.node.receive import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from contour.services.node.scp import accepted_contexts
from contour.services.node.settings import Caps, Completion, Listen, Others


def provider_table() -> str:
    """What the node takes: abstract and transfer syntaxes."""
    return _contexts(accepted_contexts(Others.REFUSE))


def user_table() -> str:
    """What the node asks of others besides storing structure sets."""
    return _contexts(question_contexts())


def policy_table() -> str:
    """Association policies and caps, by their defaults."""
    caps, listen = Caps(), Listen()
    rows = (
        ("Application context", "1.2.840.10008.3.1.1.1"),
        ("Implementation class UID", str(IMPLEMENTATION_UID)),
        ("Implementation version name", IMPLEMENTATION_NAME),
        ("Called AE titles", f"{', '.join(listen.ae_titles)} (`listen.ae_titles`); others are rejected"),
        ("Calling AE titles", "none until `peers` allows them, each from its own addresses"),
        ("Address and port", f"{listen.address}:{listen.port}; beyond this machine TLS or `plaintext: true`"),
        ("Associations at once", f"{caps.associations} (`caps.associations`)"),
        ("Longest PDU", f"{caps.pdu_bytes:,} bytes (`caps.pdu_bytes`)"),
        ("Silence that ends an association", f"{caps.idle_seconds:g} s (`caps.idle_seconds`)"),
        ("Asynchronous operations, role and extended negotiation", "none; SCP role for C-GET"),
        ("A series is whole", f"{Completion().quiet_seconds:g} s after the last image (`completion.quiet_seconds`)"),
    )
    return _table(("What", "Value"), rows)


def _contexts(contexts: list[PresentationContext]) -> str:
    """A line for each abstract syntax, with all transfer syntaxes that it is negotiated in."""
    syntaxes: dict[str, list[str]] = {}
    for one in contexts:
        found = syntaxes.setdefault(str(one.abstract_syntax), [])
        found += [name for uid in one.transfer_syntax if (name := UID(uid).name) not in found]
    rows = ((UID(uid).name, f"`{uid}`", "; ".join(names)) for uid, names in syntaxes.items())
    return _table(("Abstract syntax", "UID", "Transfer syntaxes"), rows)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
