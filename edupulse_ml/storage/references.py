"""Identifiers of students and schools in files, as keys of the store; each is asked for once per import."""

# pyarrow ships without types, so that strict mode knows nothing of what it returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.storage.connection import Connection
from edupulse_ml.storage.sql import load_queries

UNKNOWN: Final = -1


class KeyMap:
    """The keys of one kind of identifier that the import has come across. An identifier without a row is asked for
    again, because a later file may add it.
    """

    def __init__(self, query: str) -> None:
        self._query = load_queries("loading")[query]
        self._positions: dict[str, int] = {}
        self.keys: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        """Key by position."""

    async def learn(self, connection: Connection, encoded: Any) -> None:
        """Look up those of a dictionary-encoded column that are not known yet."""
        unknown = [name for name in encoded.dictionary.to_pylist() if name not in self._positions]
        if not unknown:
            return
        cursor = await connection.execute(self._query, {"names": unknown})
        rows = await cursor.fetchall()
        start = len(self._positions)
        self._positions |= {name: start + at for at, (name, _) in enumerate(rows)}
        self.keys = np.concatenate((self.keys, np.array([key for _, key in rows], dtype=np.int64)))

    def positions(self, encoded: Any) -> NDArray[np.int64]:
        """The position [R] of each row's identifier, `UNKNOWN` where there is no such row in the store."""
        names = encoded.dictionary.to_pylist()
        by_code = np.fromiter((self._positions.get(name, UNKNOWN) for name in names), np.int64, len(names))
        return by_code[encoded.indices.to_numpy()]
