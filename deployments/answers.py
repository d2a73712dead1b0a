"""Predictions as bytes for the cache."""

from typing import Final

from pydantic import TypeAdapter, ValidationError

from edupulse_ml.core.predictions import Prediction

_PREDICTION: Final = TypeAdapter(Prediction)


def encode_prediction(prediction: Prediction) -> bytes:
    """JSON of a prediction; inverse of `decode_prediction`."""
    return _PREDICTION.dump_json(prediction)


def decode_prediction(data: bytes) -> Prediction | None:
    """The prediction, or None where the bytes were written by another release."""
    try:
        return _PREDICTION.validate_json(data)
    except ValidationError:
        return None
