"""What becomes of a request that gets no connection, or loses it."""

import asyncio
import socket
import time
from pathlib import Path

from certificates import tls
from exchanges import in_loop
from faulty import ask
from hostile import NOT_FOUND, Peer, Server, answer, free_port
from test_measure_ends import linux

from tpwidgets.metrics.verdict import why
from tpwidgets.samples import Sample


def test_refused() -> None:
    [sample] = in_loop(ask(f"http://127.0.0.1:{free_port()}/"))
    assert (sample.status, sample.http_status) == ("refused", None)
    assert why(sample) == "no connection (Connection refused)"


def test_a_name_that_leads_nowhere() -> None:
    [sample] = in_loop(ask("http://no-such-host.invalid/"))
    assert sample.status == "refused"
    assert why(sample).startswith("no connection (")


@linux
def test_nobody_accepts() -> None:
    """The queue of those who wait to be accepted is full: the system drops who knocks."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        [sample] = in_loop(ask(f"http://127.0.0.1:{address[1]}/", 0.3))
        for sock in waiting:
            sock.close()
    assert sample.status == "timeout"
    assert why(sample) == "timed out (no connection within 0.3 s)"


def test_who_accepts_late_is_only_slow() -> None:
    async def late(server: Server) -> Sample:
        asking = asyncio.create_task(ask(server.url))
        await asyncio.sleep(0)
        with server:
            [sample] = await asking
        return sample

    server = Server(lambda peer: (peer.request(), peer.send(answer(3)), peer.gone())[-1])
    assert in_loop(late(server)).status == "ok"


def test_tls_that_fails(certificate: Path) -> None:
    def silent(peer: Peer) -> None:
        peer.gone()

    with Server(silent, tls=tls(certificate)) as untrusted:
        [sample] = in_loop(ask(untrusted.url))
        assert sample.status == "refused"
        assert "no connection (its certificate is not trusted: " in why(sample)
    for does, says in (
        (lambda peer: peer.send(NOT_FOUND), "TLS failed: "),
        (Peer.close, "the server closed the connection in the TLS handshake"),
        (Peer.reset, "Connection reset by peer"),
    ):
        with Server(lambda peer, does=does: (peer.sock.recv(1), does(peer))[0]) as server:
            [sample] = in_loop(ask(server.url.replace("http:", "https:")))
        assert sample.status == "refused"
        assert f"no connection ({says}" in why(sample)
    with Server(silent) as hole:
        [sample] = in_loop(ask(hole.url.replace("http:", "https:"), 0.3))
        assert why(sample) == "timed out (no connection within 0.3 s)"


def test_a_connection_closed_after_every_request_costs_only_another() -> None:
    def once(peer: Peer) -> None:
        peer.request()
        peer.send(answer(3))  # keep-alive, but it isn't kept

    with Server(once) as server:
        made = in_loop(ask(server.url, times=5))
    assert {sample.status for sample in made} == {"ok"}
    assert not any(sample.reused_connection for sample in made)


def test_what_is_sent_again_is_only_what_nobody_took() -> None:
    """A kept connection that dies long after a request was sent on it had taken it."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(3))
        peer.request()
        time.sleep(1.1)  # more than what a close that was under way takes

    with Server(script) as server:
        made = in_loop(ask(server.url, times=2))
    assert [sample.status for sample in made] == ["ok", "disconnected"]
    assert len(server.requests) == 2
