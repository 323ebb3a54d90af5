"""Addresses of shared stores (PostgreSQL and object storage), for data that are not in the local data folder."""

from __future__ import annotations

import os
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from configs.section import Section

DATABASE_VARIABLE, FILES_VARIABLE = "WINBACK_DATABASE_URL", "WINBACK_FILES_URL"
EXTRA = "install winback[stores], which brings the drivers"
PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")


def without_password(address: str) -> str:
    """Leave the password out of an address.

    Examples
    --------
    >>> without_password("postgresql://ana:s3cret@db.example/winback")
    'postgresql://ana@db.example/winback'
    """
    return PASSWORD.sub(r"\1@", address)


def _database(address: str) -> str:
    if not address:
        return address
    parts = urlsplit(address)
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or len(parts.path) < 2:
        raise ValueError("a database is postgresql://USER@HOST:PORT/NAME")
    if parts.password is not None:
        raise ValueError(
            f"a password has no place in a file; leave it out, and set PGPASSWORD or {DATABASE_VARIABLE} for the run"
        )
    if parts.query or parts.fragment:
        raise ValueError("nothing follows the name of the database; say the rest by PostgreSQL's variables (PGSSLMODE)")
    return f"postgresql://{parts.netloc}{parts.path}"


def _files(address: str) -> str:
    if not address:
        return address
    parts = urlsplit(address)
    if not parts.scheme or not (parts.netloc or parts.path.strip("/")) or parts.query or parts.fragment:
        raise ValueError("object storage is s3://BUCKET/FOLDER, or the like for another driver of fsspec")
    if parts.password is not None:
        raise ValueError("keys have no place in a file; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the run")
    return address.rstrip("/")


class Stores(Section):
    """What a team shares: a database and object storage. The data folder is then the copy of one machine."""

    database: Annotated[str, AfterValidator(_database)] = Field(
        description="PostgreSQL for MLflow, Prefect, Feast's registry, who writes, what was published, and the ledger, "
        f"as postgresql://USER@HOST/NAME; its password from PGPASSWORD or {DATABASE_VARIABLE}; empty: the data folder",
    )
    files: Annotated[str, AfterValidator(_files)] = Field(
        description="object storage for every published file and model, as s3://BUCKET/FOLDER; its keys from AWS's own "
        "variables; needs `database`; empty: the data folder",
    )
    wait_seconds: int = Field(
        ge=0, le=86_400, description="how long a run waits for a database or storage that does not answer"
    )

    @model_validator(mode="after")
    def _files_are_listed(self) -> Stores:
        if self.files and not self.database:
            raise ValueError(
                f"stores.files = {self.files!r} needs stores.database, which keeps what counts of it; set both"
            )
        return self


def addresses_of_environment() -> dict[str, object]:
    """Read the addresses that the environment holds, without their passwords."""
    own = {"database": os.environ.get(DATABASE_VARIABLE), "files": os.environ.get(FILES_VARIABLE)}
    return {name: without_password(address) for name, address in own.items() if address}


def with_password(address: str) -> str:
    """Give a database's address back the password that the environment holds in the same address, if it does."""
    own = os.environ.get(DATABASE_VARIABLE, "")
    return own if own and without_password(own) == address else address


EMBEDDED = Stores(database="", files="", wait_seconds=300)  # everything lies in the data folder
