"""Training on a Ray cluster: any number of workers, on CPUs or GPUs, a checkpoint each epoch, resumable."""

import glob
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edupulse_ml.core.errors import ConflictError, EduPulseError, NotFoundError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.models.gru import RiskNetConfig
from edupulse_ml.models.protocol import Progress
from edupulse_ml.training.chunks import Shard
from edupulse_ml.training.data import PreparedTraining
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.run import FitResult, TrainingRun, read_result
from edupulse_ml.training.run_files import EpochsInOrder, RunFiles, watched

_OPTIONS_FILE: Final = "options.json"
_ARRAYS: Final = "-arrays"
_LOOK_S: Final = 1.0
_MAY_CHANGE: Final = frozenset({"epochs", "patience"})
"""What a run that goes on may be told anew."""


class DistributedTrainingError(EduPulseError):
    """The Ray run ended without a trained network."""

    title = "Distributed training failed"


class TrainingStoppedError(ConflictError):
    """The Ray run was asked to end before its network was trained."""

    title = "Distributed training stopped"


@dataclass(frozen=True)
class ClusterOptions:
    """Where and how wide to train.

    `storage` must be reachable from every worker: it takes the prepared arrays and a checkpoint per epoch. A run with
    the `run_name` of an earlier one in the same `storage` goes on from that one's last checkpoint if that one learned
    from the same data with the same options, epochs and patience excepted; else it begins anew, or is refused where it
    `resumes`, because somebody counts on going on. Where it `follows` another network of an ensemble, that one was
    resumed, and it may begin if it had not begun. With two numbers in `num_workers`, the fewest and the most, Ray
    starts with what the cluster has and goes on from the last checkpoint with more or fewer when that changes.
    `max_failures` is the number of worker failures after which Ray gives up.
    """

    storage: Path
    run_name: str
    resumes: bool = False
    follows: bool = False
    num_workers: int | tuple[int, int] = 2
    use_gpu: bool = False
    cpus_per_worker: float = 1.0
    max_failures: int = 2


def fit_distributed(
    prepared: PreparedTraining,
    options: TrainingOptions,
    *,
    task: Task,
    cluster: ClusterOptions,
    progress: Progress = lambda _: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train on the Ray cluster this process is connected to; blocks until it has finished. Once `is_stopped`, which is
    asked every second in a thread, it ends with the epoch at hand. `progress` is told of each epoch once, in their order:
    first of those that an earlier run of the name has done, then of each within a second or so after its end, from the
    same thread. What it raises ends the run with the epoch at hand, and is raised here.

    Raises:
        TrainingStoppedError: it was stopped.
        NotFoundError: it `resumes` and does not follow another network, and no run of that name was begun in the storage.
        ConflictError: it `resumes`, and the earlier runs of that name had other data, or other options than the number of
            epochs.
        DistributedTrainingError: the run failed more often than `max_failures`, or left no checkpoint.
    """
    import ray.train
    from ray.train.torch import TorchTrainer

    storage = cluster.storage.resolve()
    fixed = _fixed(options, task)
    # Weights that have learned from other people must never be found by this run: the test people may be among them.
    run_name = f"{cluster.run_name}-{_digest(prepared, fixed)}"
    arrays = storage / f"{run_name}{_ARRAYS}"
    if cluster.resumes:
        _require_begun(arrays, fixed, cluster)
    prepared.save(arrays)
    (arrays / _OPTIONS_FILE).write_text(json.dumps(fixed), encoding="utf-8")
    files, epochs = RunFiles(arrays), EpochsInOrder(progress)
    files.clear()
    resources = {"CPU": cluster.cpus_per_worker} | ({"GPU": 1.0} if cluster.use_gpu else {})
    trainer = TorchTrainer(
        _train_on_worker,
        train_loop_config={"arrays": str(arrays), "options": asdict(options), "task": asdict(task)},
        scaling_config=ray.train.ScalingConfig(
            num_workers=cluster.num_workers, use_gpu=cluster.use_gpu, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=run_name,
            storage_path=str(storage),
            failure_config=ray.train.FailureConfig(max_failures=cluster.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        with watched(files, epochs=epochs, is_stopped=is_stopped, look_s=_LOOK_S) as watch:
            result = trainer.fit()
    except Exception as error:
        msg = f"Ray training run {cluster.run_name} failed: see its log under {storage / run_name}, mend the cause and run it again; it goes on from its last checkpoint."
        raise DistributedTrainingError(msg) from error
    if is_stopped():
        msg = (
            f"Ray training run {cluster.run_name} was stopped: it goes on from its last checkpoint when it is resumed."
        )
        raise TrainingStoppedError(msg)
    if watch.error is not None:
        raise watch.error
    if result.checkpoint is None:
        msg = f"Ray training run {cluster.run_name} left no checkpoint: check that {storage} can be written from every worker."
        raise DistributedTrainingError(msg)
    with result.checkpoint.as_directory() as directory:
        fitted = read_result(Path(directory))
    epochs.hear(fitted.history)
    return fitted


def _fixed(options: TrainingOptions, task: Task) -> dict[str, str | int | float | bool]:
    """What a run that goes on must be told as before."""
    told = {**options.as_parameters(), "task": task.name}
    return {name: value for name, value in told.items() if name not in _MAY_CHANGE}


def _digest(prepared: PreparedTraining, fixed: Mapping[str, object]) -> str:
    return hashlib.sha256(f"{prepared.digest()} {json.dumps(fixed, sort_keys=True)}".encode()).hexdigest()[:12]


def _require_begun(arrays: Path, fixed: Mapping[str, object], cluster: ClusterOptions) -> None:
    """Return if a run of that name was begun here on the data and with the options of `arrays`, or if none of that name
    was begun and it follows another network.

    Raises:
        NotFoundError: none of that name was begun.
        ConflictError: it was begun on other data or with other options; it says what is other.
    """
    if arrays.is_dir():
        return
    run_name, storage = cluster.run_name, arrays.parent
    others = storage.glob(f"{glob.escape(run_name)}-{'[0-9a-f]' * 12}{_ARRAYS}/{_OPTIONS_FILE}")
    differing = [
        sorted(name for name in fixed if fixed[name] != begun.get(name))
        for begun in (json.loads(path.read_text(encoding="utf-8")) for path in others)
    ]
    if not differing:
        if cluster.follows:
            return
        msg = (
            f"There is no run {run_name} to resume in {storage}: give the name that `edupulse train` printed when the run began "
            "(`Run NAME: if it is interrupted, ...`), or leave `--resume` out to begin a new run."
        )
        raise NotFoundError(msg)
    if names := min(differing, key=len):
        msg = f"Run {run_name} was begun with other values of {', '.join(names)}: give it the same ones, or begin a new run."
    else:
        msg = (
            f"Run {run_name} was begun on other records or another split, and its weights may have learned from the test "
            "people of this one: resume it with the records and the split that it was begun with, or begin a new run."
        )
    raise ConflictError(msg)


def _train_on_worker(config: dict[str, Any]) -> None:
    """One worker's loop; runs inside Ray Train."""
    import ray.train
    from ray.train.collective import broadcast_from_rank_zero
    from ray.train.torch import get_device, prepare_model

    context = ray.train.get_context()
    rank = context.get_world_rank()
    network = RiskNetConfig(**config["options"]["network"])
    run = TrainingRun(
        PreparedTraining.load(Path(config["arrays"])),
        TrainingOptions(**(config["options"] | {"network": network})),
        task=Task(**config["task"]),
        shard=Shard(rank, context.get_world_size()),
        device=str(get_device()),
        wrap=prepare_model,
        mean_over_workers=_mean_over_workers,
    )
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            run.resume(Path(directory))
    files = RunFiles(Path(config["arrays"]))
    if rank == 0:
        files.tell(run.result.history)
    # Rounding may differ between machines; only one worker may decide when to stop, or the others wait for ever.
    while not broadcast_from_rank_zero(run.finished or files.is_to_stop):
        metrics = run.next_epoch()
        with tempfile.TemporaryDirectory() as directory:
            saved = None
            if rank == 0:
                run.save(Path(directory))
                saved = ray.train.Checkpoint.from_directory(directory)
            ray.train.report(metrics, checkpoint=saved)
        if rank == 0:
            files.tell([metrics])


def _mean_over_workers(value: float) -> float:
    """The mean of every worker's `value`; all of them must ask."""
    import torch
    from ray.train.torch import get_device
    from torch import distributed

    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=get_device())
    distributed.all_reduce(shared)
    return float(shared) / distributed.get_world_size()
