"""How the processes of a run find each other: each reports to the first one, which sends them off.

JAX's own meeting ends all processes with a C++ stack where one is missing, which it cannot name, or
where the port is in use. So they meet here before, on the same port.
"""

import contextlib
import dataclasses
import json
import os
import socket
import threading
import time

import jax

from jaxeff import __version__
from jaxeff.errors import UsageError
from jaxeff.train.hosts import SAY_SECONDS, Link, say

_RETRY_SECONDS = 0.3
_MOST_BYTES = 2**20


def join_processes(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: float = 300,
) -> Link | None:
    """Connects this process with the others of the run, before JAX is used.

    Args:
      coordinator_address: `host:port` of the first process. Without it, the platform's word is
        taken (Cloud TPU, GKE, Slurm, Open MPI); where it says nothing, this process stays alone.
      num_processes: of the run; 1 alone keeps this process alone, whatever the platform says.
      process_id: number of this process, from 0.
      timeout: seconds to wait for the others.

    Returns:
      The connection, or None for a process that is alone.

    Raises:
      UsageError: the arguments do not fit together or with the others', the port is in use, or a
        process is missing, which is named.
    """
    if num_processes == 1 and not process_id:
        return None
    given = [a is not None for a in (coordinator_address, num_processes, process_id)]
    if any(given) and not all(given):
        raise UsageError(
            "--coordinator_address, --num_processes and --process_id go together: give all three "
            "or, where the platform announces itself, none"
        )
    if not any(given):
        coordinator_address, num_processes, process_id = _announced(timeout)
    if num_processes in (None, 1):
        return None
    if not 0 <= process_id < num_processes:
        raise UsageError(
            f"--process_id={process_id}: {num_processes} processes are 0 to {num_processes - 1}"
        )
    host, port = _host_and_port(coordinator_address)
    meet = _gather if process_id == 0 else _report
    sockets, names = meet(host, port, num_processes, process_id, timeout)
    link = Link(process_id, names, sockets)
    # It would take SIGTERM, for which `hooks.heeding_signals` listens.
    jax.config.update("jax_enable_preemption_service", False)
    # What JAX connects to is this process itself: see `_Relay`.
    address = f"127.0.0.1:{port if process_id == 0 else _Relay(host, port).port}"
    try:
        jax.distributed.initialize(
            address, num_processes, process_id, initialization_timeout=int(max(timeout, 60))
        )
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"cannot join the processes of the run at {coordinator_address}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return link


def _announced(timeout):
    """What the platform says: address, number of processes, this one's number; or Nones."""
    from jax._src import clusters  # `initialize` reads it, and tells nobody.

    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    try:
        found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
            address, None, None, None, None, int(timeout)
        )[:3]
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise UsageError(
            "the platform announces several processes, but not which: "
            f"{' '.join(str(error).split())[:300]}; give --coordinator_address, --num_processes "
            "and --process_id"
        ) from error
    if address and None in found:
        raise UsageError(
            f"JAX_COORDINATOR_ADDRESS is {address}, and nothing says how many processes there are: "
            "give --coordinator_address, --num_processes and --process_id, or unset it"
        )
    return (None, None, None) if None in found else found


def _host_and_port(address):
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(
            f"--coordinator_address={address}: give host:port of the first process, such as "
            "10.0.0.2:8476"
        )
    return host.strip("[]"), int(port)


@dataclasses.dataclass
class _Peer:
    connection: socket.socket
    hello: dict


def _gather(host, port, count, _rank, timeout):
    """Of the first process: `(sockets by rank, names)` once all have reported."""
    address = f"{host}:{port}"
    try:
        server = _server(port)
    except OSError as error:
        raise UsageError(
            f"--coordinator_address={address}: port {port} of this machine cannot be used "
            f"({error.strerror}); end what uses it, or give another port to all processes"
        ) from error
    names = {0: _name(0)}
    peers: dict[int, _Peer] = {}
    started = said = time.monotonic()

    def refuse(text):
        for peer in peers.values():
            _write(peer.connection, {"refuse": text})
        time.sleep(0.3)
        raise UsageError(text)

    with server:
        server.settimeout(_RETRY_SECONDS)
        while len(peers) < count - 1:
            peers = {rank: peer for rank, peer in peers.items() if not _is_closed(peer.connection)}
            now = time.monotonic()
            missing = ", ".join(str(rank) for rank in range(1, count) if rank not in peers)
            if now - started > timeout:
                refuse(
                    f"process {missing} of {count} did not join within {timeout:g} s: start it "
                    f"with --coordinator_address={address}, or wait longer with --join_timeout"
                )
            if now - said > SAY_SECONDS:
                said = now
                text = f"waiting for process {missing} of {count}, for {timeout:g} s at most"
                say(text)
                for peer in peers.values():
                    _write(peer.connection, {"say": text})
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            peer = _greeted(connection)
            if peer is None:
                continue
            rank = peer.hello.get("process")
            name = _name(rank, peer.hello.get("host"))
            problem = _problem(peer.hello, count, rank in peers and names[rank], name)
            peers[rank if problem is None else -1] = peer
            if problem is not None:
                refuse(problem)
            names[rank] = name
    # JAX's own service takes the port next, so nobody may find this one there.
    ordered = [names[rank] for rank in range(count)]
    for peer in peers.values():
        _write(peer.connection, {"go": ordered})
    return {rank: peer.connection for rank, peer in peers.items()}, ordered


def _problem(hello, count, taken, name):
    if hello.get("jaxeff") != __version__:
        return f"{name} runs jaxeff {hello.get('jaxeff')} and process 0 jaxeff {__version__}"
    if hello.get("of") != count:
        return f"{name} has --num_processes={hello.get('of')} and process 0 has {count}"
    if hello["process"] == 0 or taken:
        return f"two processes have --process_id={hello['process']}: {taken or _name(0)} and {name}"
    return None


def _report(host, port, count, rank, timeout):
    """Of each other process: the connection to the first, and the names of all."""
    started = said = time.monotonic()
    hello = {
        "jaxeff": __version__,
        "process": rank,
        "of": count,
        "host": socket.gethostname(),
    }
    while True:
        now = time.monotonic()
        if now - started > timeout:
            raise UsageError(
                f"process 0 of {count} did not answer at {host}:{port} within {timeout:g} s: start "
                "it there, or wait longer with --join_timeout"
            )
        if now - said > SAY_SECONDS:
            said = now
            say(f"waiting for process 0 of {count} at {host}:{port}, for {timeout:g} s at most")
        try:
            connection = socket.create_connection((host, port), timeout=5)
        except OSError:
            time.sleep(_RETRY_SECONDS)
            continue
        _write(connection, hello)
        connection.settimeout(timeout + 2 * SAY_SECONDS)
        for message in _messages(connection):
            if "say" in message:
                say(message["say"])
            elif "refuse" in message:
                raise UsageError(message["refuse"])
            elif "go" in message:
                return {0: connection}, message["go"]
        connection.close()  # Not ours, such as the service of a run that has not ended yet.
        time.sleep(_RETRY_SECONDS)


def _server(port):
    try:
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True).close()
    except (OSError, ValueError):  # A machine without IPv6.
        return socket.create_server(("", port), backlog=1024)
    return socket.create_server(
        ("::", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True
    )


def _greeted(connection):
    """Who has connected; None for a stranger."""
    connection.settimeout(5)
    hello = next(_messages(connection), None)
    if isinstance(hello, dict) and isinstance(hello.get("process"), int):
        return _Peer(connection, hello)
    connection.close()
    return None


def _messages(connection):
    """What comes, line by line, to the end of the connection or to the first that is no JSON."""
    # Unbuffered, so that what follows the last line that is taken stays for `Link`.
    with connection.makefile("rb", buffering=0) as file, contextlib.suppress(OSError, ValueError):
        while line := file.readline(_MOST_BYTES):
            yield json.loads(line)


def _write(connection, message):
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")


def _is_closed(connection):
    """Whether the other end, which has nothing to say now, has hung up."""
    connection.settimeout(0)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _name(rank, host=None):
    return f"process {rank} ({host or socket.gethostname()})"


class _Relay:
    """Passes bytes on between JAX's client in this process and its service in the first one.

    When the service's host dies, JAX's client aborts this process. It never hears of it here: the
    client's end of the connection stays open, and `Link` says what happened.

    Args:
      host: of the service.
      port: of the service.

    Attributes:
      port: of 127.0.0.1, for the client.
    """

    def __init__(self, host: str, port: int):
        self._service = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self._server.accept()
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        for _ in range(200):
            try:
                service = socket.create_connection(self._service, timeout=5)
                break
            except OSError:
                time.sleep(_RETRY_SECONDS)
        else:
            return
        service.settimeout(None)
        threading.Thread(target=_pump, args=(client, service), daemon=True).start()
        _pump(service, client)


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            sink.sendall(data)
