"""`python netcat.py HOST PORT`: copies between a connection and the standard streams, for hosts without netcat."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys


def main() -> int:
    """Ends when the other side closes; the end of standard input closes only our half."""
    try:
        connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
    except OSError:
        return 1
    connection.settimeout(None)
    with connection, selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        with contextlib.suppress(PermissionError):  # a regular file cannot be waited for, and is not used here
            selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is connection:
                    try:
                        answer = connection.recv(65536)
                    except OSError:
                        return 1
                    if not answer:
                        return 0
                    os.write(1, answer)
                    continue
                sent = os.read(0, 65536)
                if sent:
                    connection.sendall(sent)
                else:
                    selector.unregister(0)
                    connection.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main())
