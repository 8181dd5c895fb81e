"""A thread that does jobs in order, beside the main one."""

from collections.abc import Callable
from queue import Queue
from threading import Thread


class Worker:
    """Do jobs one after another in a thread; no more than a few wait."""

    def __init__(self, name: str, waiting: int) -> None:
        """Start the thread.

        Args:
            name: Its name.
            waiting: Jobs that may wait, at least 1; ``do`` waits while there are as many.
        """
        self._jobs: Queue[Callable[[], None] | None] = Queue(waiting)
        self._error: Exception | None = None
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], None]) -> None:
        """Do a job soon.

        Raises:
            Exception: What an earlier job raised; no job is done after that.
        """
        if self._error is not None:
            raise self._error
        self._jobs.put(job)

    def close(self) -> None:
        """Wait for all jobs, and end the thread.

        Raises:
            Exception: What a job raised.
        """
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._error is not None:
                continue
            try:
                job()
            except Exception as error:  # handed to the main thread
                self._error = error
