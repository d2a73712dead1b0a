"""What the driver of a run on Ray and its workers tell one another while it runs: epochs, and that it is to stop.

They share nothing but a folder: workers hear of a stop by a file in it, the driver of epochs by the lines of another.
"""

import json
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edupulse_ml.models.protocol import Progress


class RunFiles:
    """The two files of one run, in a folder that the driver and every worker can reach."""

    def __init__(self, folder: Path) -> None:
        self._stop = folder / "stop"
        self._epochs = folder / "epochs.jsonl"
        self._read_to = 0

    def clear(self) -> None:
        """Forget what was told when a run of this name was begun before."""
        self._stop.unlink(missing_ok=True)
        self._epochs.unlink(missing_ok=True)

    def ask_to_stop(self) -> None:
        """Workers end with the epoch at hand."""
        self._stop.touch()

    @property
    def is_to_stop(self) -> bool:
        return self._stop.exists()

    def tell(self, epochs: Iterable[Mapping[str, float]]) -> None:
        """Add epochs that are done; whoever goes on from a checkpoint may tell those before it again."""
        lines = "".join(f"{json.dumps(dict(metrics))}\n" for metrics in epochs)
        with self._epochs.open("a", encoding="utf-8") as file:
            # A worker that was killed may have left half a line, which must not spoil the next.
            file.write(f"\n{lines}")

    def hear(self) -> list[dict[str, float]]:
        """What was told since the last call, without half a line at its end; nothing where it cannot be read now."""
        try:
            with self._epochs.open("rb") as file:
                file.seek(self._read_to)
                told = file.read()
        except OSError:
            return []
        whole = told[: told.rfind(b"\n") + 1]
        self._read_to += len(whole)
        return [metrics for line in whole.splitlines() if (metrics := _metrics(line)) is not None]


def _metrics(line: bytes) -> dict[str, float] | None:
    try:
        return json.loads(line)
    except ValueError:  # empty, or half a line
        return None


class EpochsInOrder:
    """Passes epochs on to `progress`, each once and in their order, however often and in whatever order it hears of them:
    an epoch is trained again where a worker has died, and told again where a run goes on.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._passed_on = 0

    def hear(self, epochs: Iterable[Mapping[str, float]]) -> None:
        """Pass on those of `epochs` that are next."""
        for metrics in epochs:
            if metrics["epoch"] == self._passed_on + 1:
                self._passed_on += 1
                self._progress(metrics)


@dataclass
class Watch:
    """`error` is what stopped the watching, and with it the run; None where nothing did."""

    error: Exception | None = None


@contextmanager
def watched(
    files: RunFiles, *, epochs: EpochsInOrder, is_stopped: Callable[[], bool], look_s: float
) -> Generator[Watch, None, None]:
    """While the block runs, a thread looks every `look_s` seconds: it passes epochs on as workers tell of them, and tells
    workers once `is_stopped`. Where either raises, workers are told to stop, too.
    """
    watch, over = Watch(), threading.Event()

    def look() -> None:
        while not over.wait(look_s):
            if is_stopped():
                files.ask_to_stop()
                return
            epochs.hear(files.hear())

    def look_or_stop() -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 - whoever waits for the run raises it
            watch.error = error
            files.ask_to_stop()

    looker = threading.Thread(target=look_or_stop, name="training-watch", daemon=True)
    looker.start()
    try:
        yield watch
    finally:
        over.set()
        looker.join()
