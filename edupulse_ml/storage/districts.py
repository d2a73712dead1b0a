"""The district that a database connection works for."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edupulse_ml.core.errors import InvalidInputError, NotFoundError
from edupulse_ml.core.ports import District
from edupulse_ml.storage.connection import Database
from edupulse_ml.storage.sql import load_queries


class DistrictMissingError(NotFoundError):
    """The district has never been created in this database."""


async def read_district(database: Database) -> District:
    """The district of the database's connections.

    Raises:
        DistrictMissingError: it has not been created.
    """
    async with database.connection() as connection:
        cursor = await connection.execute(load_queries("districts")["read_district"])
        row = await cursor.fetchone()
    if row is None:
        raise DistrictMissingError(
            f"District {database.district_id} does not exist in this database: import its records first, or set"
            " EDUPULSE_DISTRICT."
        )
    return District(district_id=row[0], timezone=row[1])


async def ensure_district(database: Database, *, timezone: str) -> District:
    """Create the district if it is missing, and return it. `timezone` is an IANA name; the zone of a district that
    exists stays as it is, because its stored weeks depend on it.

    Raises:
        InvalidInputError: no such time zone.
    """
    queries = load_queries("districts")
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise InvalidInputError(
            f"There is no time zone {timezone!r}: use an IANA name such as America/New_York."
        ) from None
    async with database.transaction() as connection:
        cursor = await connection.execute(queries["is_known_zone"], {"timezone": timezone})
        if (await cursor.fetchone()) != (True,):
            raise InvalidInputError(f"PostgreSQL does not know the time zone {timezone!r}: use another IANA name.")
        await connection.execute(queries["create_district"], {"timezone": timezone})
    return await read_district(database)
