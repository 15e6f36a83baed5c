"""What a service tells the service manager that started it: that it is ready, that it lives, that it ends.

The protocol of systemd (`sd_notify(3)`): one datagram to the socket that NOTIFY_SOCKET names. Where nobody asks for it
(a terminal, Windows, a container), nothing is said.
"""

import os
import socket
import time
from contextlib import suppress

SAY_SECONDS = 5.0


class ServiceManager:
    """The service manager, as a service sees it."""

    def __init__(self) -> None:
        place = os.environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of Linux's abstract sockets.
        self._address = "\0" + place[1:] if place.startswith("@") else place
        self._said = 0.0

    def ready(self) -> None:
        """It serves from now on."""
        self._say("READY=1")

    def alive(self) -> None:
        """It goes on; said every few seconds at most. A watchdog ends a service that no longer says so."""
        if time.monotonic() - self._said >= SAY_SECONDS:
            self._said = time.monotonic()
            self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """It was told to end, and does so in order."""
        self._say("STOPPING=1")

    def _say(self, words: str) -> None:
        if not self._address:
            return
        # A manager that is not there to hear it is no reason to serve nobody.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
            talk.connect(self._address)
            talk.send(words.encode())
