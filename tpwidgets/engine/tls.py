"""TLS over memory: we read the socket ourselves, so that https is stamped there as well."""

import asyncio
import socket
import ssl

_RECORD = 16 * 1024 + 512
"""More than a TLS record holds (RFC 8446 5.2)."""


class Tls:
    """The TLS side of one connection: ciphertext on one end, plaintext on the other.

    Certificates are checked as the context says, names against `host`.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self.ended = False
        """Whether the other side said that it will send no more."""

    async def handshake(self, sock: socket.socket) -> None:
        """Shake hands over a connected socket.

        Raises
        ------
        ssl.SSLError
            The certificate is not trusted, say.
        OSError
            The connection broke.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            finally:
                if self._out.pending:  # an alert too
                    await loop.sock_sendall(sock, self._out.read())
            if done:
                return
            data = await loop.sock_recv(sock, _RECORD)
            if not data:
                raise ConnectionResetError("the server closed the connection in the TLS handshake")
            self._in.write(data)

    def encrypt(self, data: bytes) -> bytes:
        """Return what has to be sent for `data`."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        return self._out.read()

    def decrypt(self, data: bytes) -> bytes:
        """Return what `data` completes: nothing, if that is half a record or none of ours.

        Raises
        ------
        ssl.SSLError
            If it was tampered with, or is no TLS.
        """
        self._in.write(data)
        plain = []
        try:
            while piece := self._tls.read(_RECORD):
                plain.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(plain)

    def owed(self) -> bytes:
        """Return what TLS itself wants to send by now (the answer to a key update)."""
        return self._out.read()
