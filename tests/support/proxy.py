"""A TCP proxy in front of the server: the network as it is on a bad day.

It copies bytes and understands none of them, so TLS passes through and is verified
end to end; ``localhost`` stays the name to dial, only the port differs. Threads, not
asyncio: a test may block its own event loop, and the network must not notice.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType

# One buffer of a Linux loopback read; the size changes nothing but the number of copies.
CHUNK = 64 * 1024


class TcpProxy:
    """Forwards 127.0.0.1:``port`` to *target* until closed.

    Attributes:
        port: Where clients connect, chosen by the system.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self._flowing = threading.Event()
        self._flowing.set()
        self._ending = threading.Event()
        self._ending.set()
        self._delay = 0.0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy-accept", daemon=True).start()

    def cut(self) -> None:
        """Reset every connection there is, as a router does that lost its table.

        Connections made afterwards work.
        """
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            _reset(end)

    def freeze(self) -> None:
        """Let nothing pass in either direction and close nothing, until ``thaw``.

        Connections made meanwhile are accepted and stay silent, as behind a firewall
        that drops packets.
        """
        self._flowing.clear()

    def thaw(self) -> None:
        """Let everything that was held back pass."""
        self._flowing.set()

    def withhold_ends(self) -> None:
        """Pass on what either side says but not that it has hung up, until ``close``."""
        self._ending.clear()

    def delay(self, seconds: float) -> None:
        """Hold back every chunk for *seconds*, in each direction; 0 stops that."""
        self._delay = seconds

    def close(self) -> None:
        """Stop listening and reset what is open."""
        self._closed = True
        # Wakes the thread in accept(); close() alone would leave it there on Linux.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._flowing.set()
        self._ending.set()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._track(client)
        self._flowing.wait()
        try:
            server = socket.create_connection(self.target)
        except OSError:
            _reset(client)
            return
        self._track(server)
        back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
        back.start()
        self._copy(client, server)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _track(self, end: socket.socket) -> None:
        with self._lock:
            self._open.add(end)
        if self._closed:
            self.cut()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        """Copy until *source* ends, then end *sink*; a reset of either ends both."""
        try:
            while chunk := source.recv(CHUNK):
                if self._delay:
                    time.sleep(self._delay)
                self._flowing.wait()
                sink.sendall(chunk)
            self._flowing.wait()
            self._ending.wait()
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def _reset(end: socket.socket) -> None:
    """Close with RST instead of FIN, and wake a thread that is reading."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    end.close()
