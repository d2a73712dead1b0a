"""`StoredPredictionReader`: stored predictions by their ids, or drawn at random, with the keys of their students."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edupulse_ml.core.ids import PredictionId, StudentId, StudentKey
from edupulse_ml.core.predictions import Prediction
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.prediction_rows import prediction_from_row
from edupulse_ml.storage.sql import load_queries


@dataclass(frozen=True)
class StoredPrediction:
    """A prediction as it was saved, and the key under which its student's records lie."""

    student_key: StudentKey
    prediction: Prediction


class StoredPredictionReader:
    """Reads predictions of the database's district, whatever their role."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("predictions")

    async def find(self, prediction_ids: Sequence[PredictionId]) -> Mapping[PredictionId, StoredPrediction]:
        """Those that the district has, by id; unknown ids are absent. The ids must be UUIDs."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                self._queries["find_predictions"], {"prediction_ids": list(prediction_ids)}
            )
            rows = await cursor.fetchall()
        found = [
            StoredPrediction(StudentKey(key), prediction_from_row(StudentId(name), row)) for key, name, *row in rows
        ]
        return {item.prediction.prediction_id: item for item in found}

    async def sample(self, count: int, *, seed: int) -> list[PredictionId]:
        """The ids of `count` predictions drawn at random, all where there are fewer."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._queries["sample_predictions"], {"limit": count, "seed": seed})
            return [PredictionId(found) for (found,) in await cursor.fetchall()]
