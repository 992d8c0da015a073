"""Sockets that SeaweedFS leaves behind, and without which it does not start again."""

from collections.abc import Iterator, Mapping
from pathlib import Path

FOLDER = Path("/tmp")
"""Fixed in the program, as are the names: two users with the same ports get into each other's way."""


def clear_sockets(settings: Mapping[str, str]) -> None:
    """Remove the sockets of the ports that an `.env` gives SeaweedFS, which does not run.

    Raises `SystemExit` for one that belongs to another user.
    """
    for socket in _sockets(settings):
        try:
            socket.unlink(missing_ok=True)
        except PermissionError as error:
            raise SystemExit(
                f"seaweedfs: {socket} is user {socket.owner()}'s, and SeaweedFS needs that name; "
                f"have it removed, or choose other S3_*PORTs in .env"
            ) from error


def _sockets(settings: Mapping[str, str]) -> Iterator[Path]:
    ports = [int(value) for name, value in settings.items() if name.startswith("S3_") and name.endswith("PORT")]
    for port in ports:
        for number in (port, port + 10000):
            yield from FOLDER.glob(f"seaweedfs-*-{number}.sock")
