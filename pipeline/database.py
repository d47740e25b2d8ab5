"""The database behind MLflow or Prefect, asked once before either is: what is wrong with its address is one sentence.

Alone, MLflow tries a wrong password ten times, for 100 s, and Prefect's server ends with a traceback in its log.
No sentence that is written here holds a password.
"""

from __future__ import annotations

from pipeline.secrets import without_password

CONNECT_WITHIN_S = 5
CLIENT = "psycopg2"


def check(address: str, variable: str) -> None:
    """Connect to a PostgreSQL database once; other addresses pass. ValueError when that can't be done, and why."""
    if not address.startswith("postgres"):
        return
    place = f"{variable} ({without_password(address)})"
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    if address.partition("?")[0].count("@") > 1:
        raise ValueError(f"{place}: in a user's name or a password, @ is written %40, : is %3A and / is %2F")
    try:
        url = make_url(address).set(drivername=f"postgresql+{CLIENT}")  # asyncpg, Prefect's, knows no plain connection
        within = {"connect_timeout": CONNECT_WITHIN_S}
        with create_engine(url, poolclass=NullPool, connect_args=within).connect():
            return
    except ModuleNotFoundError:
        raise ValueError(f"{place}: PostgreSQL's client is not installed, `make shared` installs it") from None
    except (ArgumentError, ValueError):  # which would show what is no port, perhaps a part of a password
        said = "no address of a database, which is postgresql://USER:PASSWORD@HOST:PORT/NAME"
    except SQLAlchemyError as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
    raise ValueError(f"{place}: {said}")
