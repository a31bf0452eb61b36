"""Objects in a process of their own, on a core of their own, so that they take no CPU time from others."""

import gc
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from bench.machine import pin, raise_file_limit

IDLE_S = 0.2
TIMEOUT_S = 300.0
END_S = 10.0


class Subject(Protocol):
    def idle(self) -> None:
        """Called several times a second between requests."""


S = TypeVar("S", bound=Subject)
P = ParamSpec("P")
R = TypeVar("R")


class Remote(Generic[S]):
    """`make` is a class without arguments; its methods are called by name: `remote.call(Load.open, 1000)`."""

    def __init__(self, make: type[S], *, core: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, core), daemon=True)
        self._process.start()
        theirs.close()

    def call(self, method: Callable[Concatenate[S, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the method returns. Raises RuntimeError for whatever it raises."""
        return self.begin(method, *args, **kwargs)()

    def begin(self, method: Callable[Concatenate[S, P], R], *args: P.args, **kwargs: P.kwargs) -> Callable[[], R]:
        """As `call`, without waiting: what is answered waits. One call at a time."""
        self._pipe.send((method, args, kwargs))
        return self._result

    def has_result(self) -> bool:
        """Of what was begun."""
        return self._pipe.poll()

    def _result(self) -> Any:
        if not self._pipe.poll(TIMEOUT_S):
            self.close()
            raise TimeoutError(f"no result after {TIMEOUT_S:.0f} s")
        failure, value = self._pipe.recv()
        if failure is not None:
            raise RuntimeError(f"in a process of the benchmark:\n{failure}")
        return value

    def close(self) -> None:
        if self._pipe.closed:
            return
        self._pipe.close()
        self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def _serve(pipe: Connection, make: type[Subject], core: int) -> None:
    pin(os.getpid(), core)
    raise_file_limit()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it is told, and ends it
    gc.disable()  # a look at the objects of 10,000 sessions is a pause that would be taken for one of the server
    subject = make()
    while True:
        try:
            while not pipe.poll(IDLE_S):
                subject.idle()
            method, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_outcome(subject, method, args, kwargs))


def _outcome(subject: Subject, method: Callable[..., object], args: Any, kwargs: Any) -> tuple[str | None, object]:
    try:
        return None, method(subject, *args, **kwargs)
    except Exception:  # whatever it is, the other process has to hear of it
        return traceback.format_exc(), None
