"""The processes of a run agree, stop together and notice when one is gone.

JAX's own service connects them for what they compute. It cannot say what differs, and when a
process is gone it ends the others after up to 100 seconds with a C++ stack. So every process keeps
one more connection, to the first one (`meeting.join_processes`), on which a line of JSON is a
message. The connection of a process that dies is closed at once; one that says nothing for
`SILENCE_SECONDS` is lost.
"""

import contextlib
import json
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from jaxeff.ending import end
from jaxeff.errors import UsageError

SILENCE_SECONDS = 20
# Exit status of the processes that are left: as after a signal, the same command goes on.
LOST = 75
# Between two lines that say for whom a process waits.
SAY_SECONDS = 10
_COMPILE_PATIENCE = 120
_ALIVE_SECONDS = 2
_FINISHED = "finished"


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
        patience: float = SAY_SECONDS,
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
                    say(f"waiting for {self._missing(topic)} to come as far as this process")
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
        say(f"{text}; {self.last_words()}" if status == LOST else text)
        leave(status)


def _difference(facts, names):
    """What differs between the processes, in a line; None where nothing does."""
    ours = facts[0]
    differing = [
        (
            f"{name} is {theirs.get(name)!r:.200} on {names[rank]} and {ours.get(name)!r:.200} on ",
            name,
        )
        for rank, theirs in sorted(facts.items())
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    if not differing:
        return None
    # The shortest first: what follows from it, or it from, differs too, and is named.
    differing.sort(key=lambda each: len(each[0]))
    others = list(dict.fromkeys(name for _, name in differing if name != differing[0][1]))
    also = f" (also {', '.join(others)})" if others else ""
    return (
        f"the processes differ: {differing[0][0]}{names[0]}{also}; start all with the same "
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
    say("stopped before the first step: nothing is lost; run the same command again to go on")
    leave(LOST)


def leave(status: int) -> None:
    """Ends this process whatever its threads do, after what it has printed is out."""
    time.sleep(0.3)  # A socket that is closed too soon takes its last message along.
    end(status)


def _explained(error):
    text = " ".join(str(error).split())[:500] or "without a message"
    is_usage = isinstance(error, UsageError)
    return (text, 2) if is_usage else (f"{type(error).__name__}: {text}", 1)


@contextlib.contextmanager
def ending_together(
    link: Link | None, explained: Callable[[BaseException], tuple[str, int]] = _explained
) -> Iterator[None]:
    """Tells the other processes how this one's part ended: done, or failed, and why.

    Args:
      link: to the other processes; None for a process that is alone.
      explained: the line that an error is told in, and the exit status of all.
    """
    try:
        yield
    except BaseException as error:
        if link is not None:
            if not isinstance(error, UsageError):
                link.await_loss()  # Another's end is an exception here.
            link.fail(*explained(error))
        raise
    if link is not None:
        link.finish()


def say(text: str) -> None:
    """Prints a line for people, on standard error."""
    print(f"jaxeff: {text}", file=sys.stderr, flush=True)
