"""The processes of a run: they find each other, agree, stop together and notice when one is gone.

JAX's own service connects them for what they compute. It cannot say who is missing or what differs,
and when a process is gone it ends the others after up to 100 seconds with a C++ stack. So every
process keeps one more connection, to the first one, on which a line of JSON is a message. The
connection of a process that dies is closed at once; one that says nothing for `SILENCE_SECONDS` is
lost.
"""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import jax

from jaxeff import __version__
from jaxeff.errors import UsageError

SILENCE_SECONDS = 20
# Exit status of the processes that are left: as after a signal, the same command goes on.
LOST = 75
_ALIVE_SECONDS = 2
_SAY_SECONDS = 10
_COMPILE_PATIENCE = 120
_RETRY_SECONDS = 0.3
_MOST_BYTES = 2**20
_FINISHED = "finished"


def join_processes(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: float = 300,
) -> "Link | None":
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


class Link:
    """This process's connection with the others of a run.

    Args:
      rank: number of this process.
      names: of all processes, by number.
      sockets: to each other process for the first one, to the first one for each other.
      silence_seconds: after which another process is lost.

    Attributes:
      rank: number of this process.
      condition: guards this object, and is notified of whatever is heard.
      last_words: says what is safe when the run ends without this process's doing.
      claim: is asked how many launches this process has claimed, when the run is to stop; from then
        on it claims none until `stop_at`. None where it has trained nothing yet.
      stop_at: is told after how many launches to stop, or None to end at once.
    """

    def __init__(
        self,
        rank: int,
        names: list[str],
        sockets: Mapping[int, socket.socket],
        silence_seconds: float = SILENCE_SECONDS,
    ):
        self.rank, self._names, self._sockets = rank, names, dict(sockets)
        self._silence_seconds = silence_seconds
        self.last_words: Callable[[], str] = lambda: "run the same command again to go on"
        self.claim: Callable[[], int | None] = lambda: None
        self.stop_at: Callable[[int | None], None] = lambda number: end_at_once()
        self.condition = threading.Condition(threading.RLock())
        self._settled: dict[str, str | None] = {}
        self._facts: dict[str, dict[int, dict]] = {}  # Of the first process alone, like the claims.
        self._claims: dict[int, int | None] | None = None
        self._leaving = False
        threading.Thread(target=self._listen, name="hosts", daemon=True).start()

    def agree(
        self,
        topic: str,
        facts: Mapping[str, object],
        unless: Callable[[], bool] = lambda: False,
        patience: float = _SAY_SECONDS,
    ) -> bool:
        """Waits until every process has come here with the same facts.

        Args:
          topic: which of several agreements this is; each is made once.
          facts: JSON values by name.
          unless: ends the wait.
          patience: seconds after which it says for whom it waits, again and again.

        Returns:
          False where `unless` ended it.

        Raises:
          UsageError: on every process, with the name and the values of what differs.
        """
        said = time.monotonic()
        self._tell({"facts": facts, "topic": topic})
        with self.condition:
            while topic not in self._settled:
                if unless():
                    return False
                self.condition.wait(0.5)
                if time.monotonic() - said > patience:
                    said = time.monotonic()
                    _say(f"waiting for {self._missing(topic)} to come as far as this process")
            difference = self._settled[topic]
        if difference is not None:
            raise UsageError(difference)
        return True

    def request_stop(self) -> None:
        """Makes all processes stop at the same launch."""
        self._tell({"stop": True})

    def finish(self) -> None:
        """Waits until all have done their part; the end of a process is no loss from then on."""
        self.agree(_FINISHED, {})

    def fail(self, text: str, status: int) -> None:
        """Ends the other processes, with a line that says that this one failed, and why."""
        with self.condition:
            self._leaving = True
        self._tell({"failed": text, "status": status})
        time.sleep(0.5)  # A socket that is closed too soon takes its last message along.

    def await_loss(self, seconds: float = 3.0) -> None:
        """Ends this process if another one is found lost meanwhile."""
        time.sleep(seconds)

    # What the first process hears from each, itself included.

    def _heard(self, rank, message):
        with self.condition:
            if "facts" in message:
                topic = message["topic"]
                facts = self._facts.setdefault(topic, {})
                facts[rank] = message["facts"]
                if len(facts) == len(self._names):
                    difference = _difference(self._facts.pop(topic), self._names)
                    self._announce({"settled": topic, "difference": difference})
            elif "stop" in message:
                if self._claims is None:
                    self._claims = {}
                    self._announce({"freeze": True})
            elif "claim" in message:
                self._claims[rank] = message["claim"]
                if len(self._claims) == len(self._names):
                    claims = self._claims.values()
                    self._announce({"stop_at": None if None in claims else max(claims)})
            elif "failed" in message:
                text = f"{self._names[rank]} stopped: {message['failed']}"
                self._announce({"leave": text, "status": message["status"]}, but=rank)

    # What every process hears from the first, itself included.

    def _take(self, message):
        with self.condition:
            if "settled" in message:
                topic, difference = message["settled"], message["difference"]
                self._settled[topic] = difference
                # Each process ends by itself now.
                self._leaving |= topic == _FINISHED or difference is not None
            elif "freeze" in message:
                self._tell({"claim": self.claim()})
            elif "stop_at" in message:
                self.stop_at(message["stop_at"])
            self.condition.notify_all()
        if "leave" in message:
            self._leave(message["leave"], message["status"])

    def _missing(self, topic):
        """Who has not said its part, as far as this process knows."""
        if self.rank:
            return "the other processes"
        there = self._facts.get(topic, {})
        return ", ".join(name for rank, name in enumerate(self._names) if rank not in there)

    def _tell(self, message):
        """Tells the first process, which may be this one."""
        self._heard(0, message) if self.rank == 0 else self._send(0, message)

    def _announce(self, message, but=None):
        for rank in self._sockets:
            if rank != but:
                self._send(rank, message)
        if but != 0:
            self._take(message)

    def _send(self, rank, message):
        with self.condition, contextlib.suppress(OSError):  # Who is gone is found by listening.
            self._sockets[rank].sendall(json.dumps(message).encode() + b"\n")

    def _listen(self):
        selector, heard_at, unread = selectors.DefaultSelector(), {}, {}
        for rank, connection in self._sockets.items():
            connection.settimeout(5)
            selector.register(connection, selectors.EVENT_READ, rank)
            heard_at[rank], unread[rank] = time.monotonic(), b""
        spoke = 0.0
        while True:
            for key, _ in selector.select(_ALIVE_SECONDS / 2):
                rank = key.data
                try:
                    data = key.fileobj.recv(2**16)
                except OSError:
                    data = b""
                if not data:
                    selector.unregister(key.fileobj)
                    del heard_at[rank]
                    self._closed(rank, "is gone")
                    continue
                heard_at[rank] = time.monotonic()
                *lines, unread[rank] = (unread[rank] + data).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    self._heard(rank, message) if self.rank == 0 else self._take(message)
            now = time.monotonic()
            if now - spoke > _ALIVE_SECONDS:
                spoke = now
                for rank in heard_at:
                    self._send(rank, {"alive": True})
            for rank, then in heard_at.items():
                if now - then > self._silence_seconds:
                    self._closed(rank, f"has not answered for {self._silence_seconds:g} s")

    def _closed(self, rank, how):
        with self.condition:
            if self._leaving:
                return
        text = f"{self._names[rank]} {how}"
        if self.rank == 0:
            self._announce({"leave": text, "status": LOST})
        else:
            self._leave(text, LOST)

    def _leave(self, text, status):
        with self.condition:
            if self._leaving:
                return
            self._leaving = True
        _say(f"{text}; {self.last_words()}" if status == LOST else text)
        leave(status)


def _difference(facts, names):
    """What differs between the processes, in a line; None where nothing does."""
    ours = facts[0]
    differing = [
        (f"{name} is {theirs.get(name)!r:.200} on {names[rank]} and {ours.get(name)!r:.200} on ")
        for rank, theirs in sorted(facts.items())
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    if not differing:
        return None
    # What follows from it differs too, and says it at greater length.
    return (
        f"the processes differ: {min(differing, key=len)}{names[0]}; start all with the same "
        "code, flags and data"
    )


class StopPoint:
    """Where a run stops when it is asked to: before the same launch in all of its processes.

    A launch is a call of a program that all devices take part in. A process that stopped before one
    that another has begun would leave it waiting for ever.

    Args:
      link: to the other processes; None for a process that is alone.
    """

    def __init__(self, link: Link | None = None):
        self._link = link
        self.condition = threading.Condition(threading.RLock())
        self._launches: int | None = None
        self._stop_at: int | None = None
        self._frozen = False
        self._compiled = 0
        if link is not None:
            self.condition = link.condition
            link.claim, link.stop_at = self._claim, self._settle

    @property
    def is_set(self) -> bool:
        """Whether the run is to stop."""
        return self._stop_at is not None

    def begin(self) -> None:
        """From here on a stop is at a launch; before, the process ends at once: nothing is lost."""
        with self.condition:
            self._launches = 0

    def request(self) -> None:
        """Makes the run stop, all processes of it."""
        if self._link is not None:
            self._link.request_stop()
            return
        with self.condition:
            if self._stop_at is None:
                self._settle(self._claim())

    def may_launch(self) -> bool:
        """Claims a launch; False where the run stops before it."""
        with self.condition:
            while self._frozen and self._stop_at is None:
                self.condition.wait(0.5)
            if self._stop_at is not None and self._launches >= self._stop_at:
                return False
            self._launches = (self._launches or 0) + 1
            return True

    def compile(self, work: Callable[[], object]) -> bool:
        """Calls `work` in a thread, and waits until it is done in all processes.

        Returns:
          False where the run stops before; `work` is then left to itself.
        """
        done, raised = threading.Event(), []

        def call():
            try:
                work()
            except BaseException as error:
                raised.append(error)
            with self.condition:
                done.set()
                self.condition.notify_all()

        threading.Thread(target=call, name="compile", daemon=True).start()
        with self.condition:
            while not done.is_set() and not self.is_set:
                self.condition.wait(0.5)
        if raised:
            raise raised[0]
        if not done.is_set():
            return False
        if self._link is None:
            return True
        self._compiled += 1
        topic = f"compiled {self._compiled}"
        return self._link.agree(topic, {}, lambda: self.is_set, _COMPILE_PATIENCE)

    def _claim(self):
        self._frozen = True
        return self._launches

    def _settle(self, stop_at):
        if stop_at is None:
            end_at_once()
        self._stop_at = stop_at
        self.condition.notify_all()


def end_at_once() -> None:
    """Ends a process that has trained nothing since it started."""
    _say("stopped before the first step: nothing is lost; run the same command again to go on")
    leave(LOST)


def leave(status: int) -> None:
    """Ends this process whatever its threads do, after what it has printed is out."""
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    time.sleep(0.3)  # A socket that is closed too soon takes its last message along.
    os._exit(status)


@contextlib.contextmanager
def ending_together(link: Link | None) -> Iterator[None]:
    """Tells the other processes how this one's part ended: done, or failed, and why."""
    try:
        yield
    except BaseException as error:
        if link is not None:
            is_usage = isinstance(error, UsageError)
            if not is_usage:
                link.await_loss()  # Another's end is an exception here.
            text = " ".join(str(error).split())[:500] or type(error).__name__
            link.fail(text if is_usage else f"{type(error).__name__}: {text}", 2 if is_usage else 1)
        raise
    if link is not None:
        link.finish()


def _say(text):
    print(f"jaxeff: {text}", file=sys.stderr, flush=True)


# How they meet: each process reports to the first one, which sends them off when all are there.


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
            if now - said > _SAY_SECONDS:
                said = now
                text = f"waiting for process {missing} of {count}, for {timeout:g} s at most"
                _say(text)
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
        if now - said > _SAY_SECONDS:
            said = now
            _say(f"waiting for process 0 of {count} at {host}:{port}, for {timeout:g} s at most")
        try:
            connection = socket.create_connection((host, port), timeout=5)
        except OSError:
            time.sleep(_RETRY_SECONDS)
            continue
        _write(connection, hello)
        connection.settimeout(timeout + 2 * _SAY_SECONDS)
        for message in _messages(connection):
            if "say" in message:
                _say(message["say"])
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
