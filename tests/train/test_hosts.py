"""Several processes of a run: what they agree on, where they stop, and what they say of each other.

Threads of this process stand for the processes, each with its end of a connection; what needs
processes, a signal or a kill is in `tests/launch/test_processes.py`.
"""

import socket
import threading
import time

import pytest

from jaxeff.errors import UsageError
from jaxeff.train import hosts, meeting


def _pair():
    ends = socket.socketpair()
    names = ["process 0 (a)", "process 1 (b)"]
    return hosts.Link(0, names, {1: ends[0]}), hosts.Link(1, names, {0: ends[1]}), ends


def _everywhere(*calls):
    """What each call returns or raises, all at once in threads."""
    results = [None] * len(calls)

    def run(i, call):
        try:
            results[i] = call()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()
    return results


@pytest.fixture
def left(monkeypatch):
    """The exit statuses of the processes that ended themselves."""
    statuses = []

    def leave(status):
        statuses.append(status)

    monkeypatch.setattr(hosts, "leave", leave)
    return statuses


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_processes_that_are_told_the_same_agree():
    first, second, _ = _pair()
    facts = {"seed": 3, "recipe.lr": 0.1}
    assert _everywhere(
        lambda: first.agree("run", facts), lambda: second.agree("run", dict(facts))
    ) == [True, True]


def test_a_difference_is_named_to_every_process():
    first, second, _ = _pair()
    ours = {"seed": 0, "recipe.schedule": {"steps": list(range(9))}}
    theirs = {"seed": 1, "recipe.schedule": {"steps": list(range(99))}}
    errors = _everywhere(lambda: first.agree("run", ours), lambda: second.agree("run", theirs))
    expected = "seed is 1 on process 1 (b) and 0 on process 0 (a)"  # Not what follows from it.
    assert all(isinstance(error, UsageError) and expected in str(error) for error in errors)


def test_all_stop_before_the_launch_that_the_farthest_has_not_begun():
    first, second, _ = _pair()
    stops = [hosts.StopPoint(first), hosts.StopPoint(second)]
    for stop in stops:
        stop.begin()
    for _ in range(5):
        assert stops[0].may_launch()
    assert stops[1].may_launch()
    stops[1].request()

    def launches(stop):
        count = 0
        while stop.may_launch():
            count += 1
        return count

    one, other = _everywhere(lambda: launches(stops[0]), lambda: launches(stops[1]))
    assert 5 + one == 1 + other


def test_a_stop_while_one_compiles_leaves_all_before_that_launch():
    first, second, _ = _pair()
    stops = [hosts.StopPoint(first), hosts.StopPoint(second)]
    for stop in stops:
        stop.begin()
    compiling, compiled = threading.Event(), threading.Event()

    def compile_for_ever():
        compiling.set()
        compiled.wait()

    def ask():
        compiling.wait()
        time.sleep(0.2)
        stops[0].request()

    assert _everywhere(
        lambda: stops[0].compile(lambda: None), lambda: stops[1].compile(compile_for_ever), ask
    ) == [False, False, None]
    assert not stops[0].may_launch()
    compiled.set()


def test_a_stop_before_all_have_begun_ends_all_at_once(left, capsys):
    first, _second, _ = _pair()
    hosts.StopPoint(first).begin()  # The second is still reading its data.
    first.request_stop()
    _wait_until(lambda: len(left) == 2)
    assert left == [75, 75]
    assert "nothing is lost" in capsys.readouterr().err


def test_a_process_that_dies_is_named_with_what_is_safe(left, capsys):
    first, _, ends = _pair()
    first.last_words = lambda: "the last checkpoint is of step 40"
    ends[1].shutdown(socket.SHUT_RDWR)
    _wait_until(lambda: len(left) == 2)  # Both ends are in this process: each misses the other.
    assert left == [75, 75]
    said = capsys.readouterr().err
    assert "process 1 (b) is gone; the last checkpoint is of step 40" in said


def test_a_process_that_falls_silent_is_lost(left, capsys):
    ours, _theirs = socket.socketpair()
    hosts.Link(0, ["process 0 (a)", "process 1 (b)"], {1: ours}, silence_seconds=0.5)
    _wait_until(lambda: left)
    assert left[0] == 75
    assert "process 1 (b) has not answered" in capsys.readouterr().err


def test_why_one_failed_is_said_by_the_others(left, capsys):
    _first, second, _ = _pair()
    with pytest.raises(UsageError), hosts.ending_together(second):
        raise UsageError("--data_dir=/data: no such folder")
    _wait_until(lambda: left)
    assert left == [2]
    assert "process 1 (b) stopped: --data_dir=/data: no such folder" in capsys.readouterr().err


def test_a_part_that_is_done_is_no_loss(left):
    first, second, ends = _pair()

    def end(link):
        with hosts.ending_together(link):
            pass

    _everywhere(lambda: end(first), lambda: end(second))
    ends[1].shutdown(socket.SHUT_RDWR)
    time.sleep(0.3)
    assert not left


def test_who_is_missing_is_said_and_ends_the_wait(capsys, monkeypatch):
    monkeypatch.setattr(meeting, "SAY_SECONDS", 0.2)
    address = f"127.0.0.1:{_free_port()}"
    errors = _everywhere(
        lambda: meeting.join_processes(address, 3, 0, timeout=1.5),
        lambda: meeting.join_processes(address, 3, 2, timeout=9),
    )
    for error in errors:
        assert isinstance(error, UsageError)
        assert "process 1 of 3 did not join within 1.5 s" in str(error)
    assert "waiting for process 1 of 3" in capsys.readouterr().err


def test_a_port_in_use_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of this machine cannot be used"):
            meeting.join_processes(f"127.0.0.1:{port}", 2, 0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("10.0.0.1:8476", 2, None), "go together"),
        (("x", 2, 0), "--coordinator_address=x: give host:port"),
        (("10.0.0.1:99999", 2, 0), "give host:port"),
        (("10.0.0.1:8476", 2, 2), "--process_id=2"),
    ],
)
def test_wrong_arguments_are_refused(arguments, expected):
    with pytest.raises(UsageError, match=expected):
        meeting.join_processes(*arguments)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"process": 1, "of": 3}, r"--num_processes=3 and process 0 has 2"),
        ({"process": 0, "of": 2}, r"two processes have --process_id=0"),
    ],
)
def test_processes_that_were_started_wrongly_are_refused(second, expected):
    port = _free_port()

    def report():
        return meeting._report("127.0.0.1", port, second["of"], second["process"], 9)

    errors = _everywhere(
        lambda: meeting.join_processes(f"127.0.0.1:{port}", 2, 0, timeout=9), report
    )
    assert all(isinstance(error, UsageError) for error in errors)
    for error in errors:
        assert expected in str(error)


def test_without_arguments_or_platform_a_process_is_alone():
    assert meeting.join_processes() is None
    assert meeting.join_processes("10.0.0.1:8476", 1, 0) is None


def test_a_process_of_a_job_may_stay_alone(monkeypatch):
    for name in ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID"):
        monkeypatch.setenv(f"SLURM_{name}", "2")
    assert meeting.join_processes(num_processes=1) is None


def test_the_clients_end_stays_open_when_the_service_is_gone():
    """JAX's client would abort the process."""
    with socket.create_server(("127.0.0.1", 0)) as service:
        relay = meeting._Relay("127.0.0.1", service.getsockname()[1])
        client = socket.create_connection(("127.0.0.1", relay.port))
        client.sendall(b"request")
        server, _ = service.accept()
        assert server.recv(100) == b"request"
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"
        server.close()
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)
        client.close()


def _wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
