"""Listening: whether users open what an offer's channel sends, and that redemptions are learnt from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, FEATURES, redemptions, small_settings

from models.forest import boosters
from models.learn.listening import CHANNEL_SHARE, Listening, own_channels, with_channel_share
from models.learn.redemption import p_redeem_each, train_redemption
from models.learn.training import Trained
from models.model_cards.model_notes import RedemptionNotes, notes_as_json, read_notes

CHANNELS = {"bundle": "push", "come_back": "email"}
CUSTOM = {
    f"{channel}_{what}": {
        "meaning": "Messages", "role": f"message_{what}", "measure": "count", "windows": (90,),
        "where": (f'channel = "{channel}"',),
    }
    for channel in CHANNELS.values()
    for what in ("opened", "sent")
}  # fmt: skip
SETTINGS = small_settings(features={"custom": CUSTOM})
OPTIONS = (("bundle", 0.1), ("come_back", 0.1))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Treatments that are redeemed by those alone who open what the offer's own channel sends."""
    rng = np.random.default_rng(91)
    rows = redemptions(300, rng)
    for channel in CHANNELS.values():
        sent = rng.integers(5, 20, len(rows))
        listens = rng.random(len(rows)) < 0.5
        opened = rng.binomial(sent, np.where(listens, 0.9, 0.1))
        rows = rows.assign(**{f"{channel}_sent_count_90d": sent * 1.0, f"{channel}_opened_count_90d": opened * 1.0})
    share = with_channel_share(rows, own_channels(CHANNELS, SETTINGS, rows))[CHANNEL_SHARE]
    return rows.assign(is_redeemed=((share > 0.5) & (rng.random(len(rows)) < 0.6)).astype(int))


@pytest.fixture(scope="module")
def trained(frame) -> Trained:
    """Redemption model of that frame."""
    return train_redemption(frame, FEATURES, SETTINGS, AS_OF, CHANNELS)


def test_an_offer_is_expected_to_be_used_by_those_who_listen_to_its_channel(frame, trained):
    assert trained.listening["bundle"].opened == "push_opened_count_90d"
    model, rows = trained.winner.estimator, frame.head(4)
    one = {"push_sent_count_90d": 10.0, "email_sent_count_90d": 10.0}
    rows = rows.assign(**one, push_opened_count_90d=[9.0, 0.0, 9.0, 0.0], email_opened_count_90d=[0.0, 9.0, 9.0, 0.0])
    found = p_redeem_each(model, rows, OPTIONS, trained.listening)
    assert (found > 0.3).tolist() == [[True, False], [False, True], [True, True], [False, False]]
    for candidate in trained.candidates.values():
        assert CHANNEL_SHARE in candidate.estimator.columns


@pytest.mark.parametrize("many", [1, 10**9])
def test_each_option_is_scored_with_its_own_channel_by_either_kernel(frame, trained, monkeypatch, many):
    monkeypatch.setattr(boosters, "MANY_SCORES", many)
    model = trained.candidates["lightgbm"].estimator
    found = p_redeem_each(model, frame, OPTIONS, trained.listening)
    for place, (offer_id, discount) in enumerate(OPTIONS):
        given = frame.assign(offer_id=pd.Categorical([offer_id] * len(frame)), discount=discount)
        assert (found[:, place] == model.predict(with_channel_share(given, trained.listening))).all()
    # of an offer whose channel nobody knows the share is missing
    unknown = p_redeem_each(model, frame, [("new", 0.1)], trained.listening)
    assert np.isfinite(unknown).all()


def test_where_no_channel_is_counted_by_itself_nothing_is_added(frame):
    settings = small_settings()
    assert own_channels(CHANNELS, settings, frame) == {}
    assert with_channel_share(frame, {}) is frame
    found = train_redemption(frame.head(400), FEATURES, settings, AS_OF, CHANNELS)
    assert all(CHANNEL_SHARE not in each.estimator.columns for each in found.candidates.values())


def test_what_a_model_reads_of_channels_is_kept_with_it(trained):
    notes = RedemptionNotes(trained.spend, listening=trained.listening)
    assert read_notes(RedemptionNotes, notes_as_json(notes), "redemption") == notes
    assert notes.listening["come_back"] == replace(
        Listening("email_opened_count_90d", "email_sent_count_90d", 0.0), usual=trained.listening["come_back"].usual
    )
