"""Two pictures of a search: which settings mattered, and how settings and objective go together."""

import warnings
from pathlib import Path
from typing import Any, Final

from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from edupulse_ml.training.search.study import SearchStudy

IMPORTANCE: Final = "parameter-importance"
PARALLEL: Final = "parallel-coordinates"
_FEWEST_TRIALS: Final = 4
"""With fewer there is nothing to compare."""
_TARGET: Final = "mean AUC on validation people"


def importance(study: SearchStudy) -> dict[str, float]:
    """Share of each setting in what tells good trials from the others (fANOVA), summing to 1; empty with fewer than
    four trials or where all came out alike. With twenty trials these are hints.
    """
    held = study.for_figures()
    if len(held.trials) < _FEWEST_TRIALS or len({trial.value for trial in held.trials}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return get_param_importances(held, evaluator=FanovaImportanceEvaluator(seed=0))


def draw_search(study: SearchStudy, folder: Path) -> tuple[Path, ...]:
    """Write both pictures as PNG into `folder`; none with too few trials."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as drawn

    if not importance(study):
        return ()
    held = study.for_figures()
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def keep(axes: Any, name: str) -> None:
        path = folder / f"{name}.png"
        axes.figure.set_size_inches(11, 6)
        axes.figure.savefig(path, dpi=110, bbox_inches="tight")
        pyplot.close(axes.figure)
        written.append(path)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        evaluator = FanovaImportanceEvaluator(seed=0)
        keep(drawn.plot_param_importances(held, evaluator=evaluator, target_name=_TARGET), IMPORTANCE)
        keep(drawn.plot_parallel_coordinate(held, target_name=_TARGET), PARALLEL)
    return tuple(written)
