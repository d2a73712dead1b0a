import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import InvalidInputError
from jobs.replay import differing_table, replay_predictions, summary
from jobs.replaying import Replayed
from tests.fakes.clocks import FixedClock
from tests.fakes.predictions import prediction


@pytest.mark.parametrize(("ids", "said"), [([], "--sample"), (["S000123"], "is a UUID")])
def test_a_call_that_names_no_prediction_opens_nothing(tmp_path: Path, ids: list[str], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as error:
        asyncio.run(replay_predictions(Settings(home=tmp_path), ids, sample=0, seed=0, clock=FixedClock()))
    assert "S000123" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_table_lists_what_differs_and_no_student() -> None:
    found = [
        Replayed(prediction(1, student="S000123"), "same", last_import=3),
        Replayed(prediction(2, student="S000123"), "differs", ("risk_score: 0.3 was stored, 0.4 is computed",)),
        Replayed(prediction(3, student="S000123"), "impossible", ("There is no model version 7.",)),
    ]
    console = Console(record=True, width=200)
    console.print(differing_table(found))
    text = console.export_text()
    assert "risk_score: 0.3 was stored" in text
    assert "There is no model version 7." in text
    assert found[0].prediction.prediction_id not in text
    assert "S000123" not in text
    assert summary(found) == (
        "1 of 3 predictions are the same when computed again, 1 differ, 1 cannot be computed again."
    )
    assert summary([]) == "No prediction is stored yet."
