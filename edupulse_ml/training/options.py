"""What a training run can be told."""

from dataclasses import asdict, dataclass, field

from edupulse_ml.models.gru import RiskNetConfig


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of one fit of the risk network. All of it is deterministic in `seed`.

    `patience` is the number of epochs without a better validation score after which training stops; `allow_small`
    lets it run on fewer than 1,000 students with 20 weeks, for experiments. `validation_rows` student-weeks of the
    validation cohort that have a label of the stopping task are scored after each epoch.
    """

    window_weeks: int = 20
    epochs: int = 50
    patience: int = 6
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    gradient_norm: float = 1.0
    ema_decay: float = 0.999
    network: RiskNetConfig = field(default_factory=RiskNetConfig)
    validation_rows: int = 4000
    calibration_rows: int = 60_000
    capacity_share: float = 0.05
    allow_small: bool = False
    seed: int = 0

    def as_parameters(self) -> dict[str, str | int | float | bool]:
        """Flat names and values, for a run's record."""
        flat: dict[str, str | int | float | bool] = {}
        for name, value in asdict(self).items():
            if isinstance(value, dict):
                flat |= {f"{name}.{inner}": part for inner, part in value.items()}
            else:
                flat[name] = value
        return flat
