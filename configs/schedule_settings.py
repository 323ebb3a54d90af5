"""Settings of the schedule: when the flows run, the port of the status page, and who is notified of failures."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from configs.section import Section


def _known_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, OSError, ValueError) as error:
        raise ValueError("no IANA time zone has this name; write one such as 'Europe/Berlin'") from error
    return name


TimeZone = Annotated[str, AfterValidator(_known_time_zone)]


class Schedule(Section):
    """When the flows run by themselves."""

    time_zone: TimeZone = Field(description="IANA name of the zone that the cron lines are read in")
    score_cron: str = Field(description="when users are scored")
    train_cron: str = Field(description="when models are retrained")
    measure_cron: str = Field(description="when past decisions are measured")
    port: int = Field(
        ge=0, le=65535, description="port of the page and API of `winback schedule`, on this machine alone; 0 = any"
    )
    webhook_secret: str = Field(
        description="Prefect Secret block with the address that a failed run is posted to; empty: the environment's "
        "WINBACK_WEBHOOK_URL, and without that nobody is told"
    )
