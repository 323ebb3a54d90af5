"""A small app that was decided for two days, and the desk over it: what tests of pages share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from fastapi.testclient import TestClient
from synthetic import AS_OF, behaviour, offer, small_policy, small_settings

from configs.settings import Settings
from features.storage.lake import Lake
from serving.cubes.day_cubes import write_cubes
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.desk.desk_app import make_desk_app
from serving.desk.desk_pages import Desk
from serving.desk.visitors import Authenticator

USERS = 300
HOSTILE = "<img src=x onerror=alert(1)>"
FORMULA = "=cmd|' /C calc'!A0"
DAYS = (AS_OF - timedelta(days=7), AS_OF)


@dataclass(frozen=True)
class SmallDesk:
    """The settings and data folder of a desk, and the people in it."""

    settings: Settings
    lake: Lake
    user_ids: tuple[str, ...]

    def client(self, authenticator: Authenticator | None = None, host: str = "127.0.0.1") -> TestClient:
        """Somebody who asks."""
        desk = Desk.of(self.settings, self.lake, lambda _words: {"newest events": "none"})
        return TestClient(
            make_desk_app(desk, authenticator or Authenticator()), base_url=f"http://{host}", follow_redirects=False
        )


def decided_desk(folder: Path, scoring: Mapping[str, object] | None = None, users: int = USERS) -> SmallDesk:
    """Decide two days, a week apart, of people with some hostile ids, categories and traits, and add them up."""
    settings = small_settings(scoring=dict(scoring or {"control_share": 0.2, "budget": 25.0}), data_dir=folder)
    offers = (
        offer("bundle", stock=30, message=f"{HOSTILE} {{{{ title }}}}: {{{{ discount }}}}"),
        offer("come_back"),
        offer("unproven", title=f"Offer {HOSTILE}"),
    )
    policy, lake = small_policy(settings, offers=offers), Lake(folder)
    for day in DAYS:
        frame = people(users, day)
        size = max(130, users // 8)
        parts = [frame.iloc[start : start + size].reset_index(drop=True) for start in range(0, users, size)]
        decide(policy, lake, day, LocalExecutor([partial(pd.DataFrame, part) for part in parts]))
        write_cubes(settings, lake, day)
    return SmallDesk(settings, lake, tuple(frame["user_id"]))


def people(users: int, day: date) -> pd.DataFrame:
    """Everything that is known of some people on a day."""
    frame = behaviour(users, np.random.default_rng(day.toordinal()))
    frame.loc[:1, "user_id"] = [HOSTILE, FORMULA]
    for name in ("favourite_category_90d", "trait_plan"):
        told = frame[name].astype(object)
        told.iloc[::3] = HOSTILE
        frame[name] = pd.Categorical(told)
    return frame
