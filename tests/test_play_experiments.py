"""Experiments in plays: read with line and nearest name, drawn once for all, said as each variant says it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from synthetic import offer, small_settings

from configs.errors import InputError
from configs.offer_texts import Text
from configs.offers import NOTHING, Catalogue, load_catalogue
from configs.play_experiments import Experiment, Translation, Variant
from serving.arms.assignment import Assignment
from serving.arms.channel_order import check_orders, in_channel_order
from serving.arms.exploration import stable_groups
from serving.arms.variants import drawn_variants
from serving.contact_rules.contact_rule import Forbidden
from serving.decide.message_columns import offer_columns
from serving.decide.scoring import Policy
from serving.messages.checked_texts import text_faults
from serving.messages.reader_details import ReaderDetails
from serving.stored_days.decision_moment import DecisionMoment
from serving.wording.language_file import load_language

SETTINGS = small_settings()
NIGHT = DecisionMoment.of_night(date(2024, 8, 1), "UTC")
PLAY = """[cart]
channels = ["push", "email"]
title = "Your basket"
play = "cart open"
message = "Something is in your basket."
benefit = "none"
valid_days = 3
contact_cost = 0.01
covered_spend = 20.0

[cart.experiment]
name = "tone"
{of_experiment}

[[cart.experiment.variants]]
name = "as it is"
share = 0.5

[[cart.experiment.variants]]
name = "friendly"
{of_variant}
"""


def catalogue(folder: Path, of_variant: str, of_experiment: str = "") -> Catalogue:
    path = folder / "offers.toml"
    path.write_text(PLAY.format(of_variant=of_variant, of_experiment=of_experiment), encoding="utf-8")
    return load_catalogue(str(path))


def test_every_channel_of_a_play_carries_its_experiment(tmp_path: Path) -> None:
    found = catalogue(tmp_path, 'share = 0.5\nsend_hour = 18\nchannels = ["email", "push"]', "smallest_effect = 0.02")
    (offers,) = found.experiments.values()
    assert [each.offer_id for each in offers] == ["cart_push", "cart_email"]
    (experiment,) = {each.experiment for each in offers}
    assert (experiment.name, experiment.smallest_effect, experiment.is_about_channels) == ("tone", 0.02, True)
    assert not catalogue(tmp_path, "share = 0.5", "is_running = false").offers[0].running


@pytest.mark.parametrize(
    ("of_variant", "of_experiment", "said"),
    [
        ("share = 0.5\nsend_hours = 9", "", "variant 2 .*line 20.*did you mean 'send_hour'"),
        ("share = 0.4", "", "line 12.*sum to 0.9; make it 1"),
        ('share = 0.5\nchannels = ["mail"]', "", "'mail' in variant 2 .*line 20.*did you mean 'email'"),
        ("share = 0.5\nsend_hour = 24", "", "send_hour.*less than or equal to 23, found 24 in variant 2.*line 20"),
        ("share = 0.5", 'measured_by = "clicks"', "measured_by.*'margin', 'retention', 'conversion' or 'redemption'"),
        ("share = 0.5", "smalest_effect = 1", "did you mean 'smallest_effect'"),
        ('share = 0.5\nmessage = "$discount off"', "", "fields are written otherwise now"),
        ("share = 0.5\n[[cart.experiment.variants]]\nname = 'friendly'\nshare = 0.1", "", "two variants .*'friendly'"),
    ],
)
def test_a_wrong_experiment_is_refused_with_line_and_nearest_name(tmp_path, of_variant, of_experiment, said) -> None:
    with pytest.raises(InputError, match=said):
        catalogue(tmp_path, of_variant, of_experiment)


def test_what_a_variant_says_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    path, wrong = tmp_path / "offers.toml", 'share = 0.5\nmessage = """Hello\n{{ frist_name }}"""'
    found = catalogue(tmp_path, wrong)
    faults = list(text_faults(SETTINGS.model_copy(update={"offers": str(path)}), found, load_language("en")))
    assert len(faults) == 1  # though it is said on two channels
    assert f"{path}, line 23: message of variant 'friendly' of 'cart'" in faults[0]
    assert "did you mean 'first_name'" in faults[0]


def test_a_draw_is_stable_and_has_nothing_to_do_with_groups_and_other_experiments() -> None:
    variants = (Variant(name="a", share=0.2), Variant(name="b", share=0.3), Variant(name="c", share=0.5))
    users = pd.Series([f"u{number}" for number in range(20_000)])
    tone, hour = (Experiment(name=name, variants=variants) for name in ("tone", "hour"))
    drawn = drawn_variants(tone, users, 1)
    assert (drawn == drawn_variants(tone, users[::-1].reset_index(drop=True), 1)[::-1]).all()
    assert np.abs(np.bincount(drawn) / len(users) - [0.2, 0.3, 0.5]).max() < 0.01
    control, _ = stable_groups(users, SETTINGS)
    for other in (control, drawn_variants(hour, users, 1), drawn_variants(tone, users, 2)):
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.02


def shown(experiment: Experiment, users: int = 200, **of_offer: object) -> tuple[dict, np.ndarray]:
    german = Text(language="de", message="Bis {{ last_day }}.", subject="Für dich")
    late = Text(stage="lapsed", message="Long ago!", subject="Hello again")
    gives = offer("a", message="Until {{ last_day }}.", subject="For you", channel="email", discounts=(0.2,),
                  texts=(german, late), experiment=experiment, **of_offer)  # fmt: skip
    ids = [f"u{number}" for number in range(users)]
    known = pd.DataFrame({"locale": ["de", "en"] * (users // 2), "agrees": True}, index=ids)
    policy = Policy(SETTINGS, Catalogue(offers=(gives,)), None, None, None, readers=ReaderDetails(known))
    frame = pd.DataFrame({"user_id": ids, "stage": ["new", "new", "lapsed", "lapsed"] * (users // 4),
                          "favourite_category_90d": pd.Categorical([None] * users, categories=["x"])})  # fmt: skip
    batch = SimpleNamespace(frame=frame, options=SimpleNamespace(catalogue=Catalogue(offers=(gives,))))
    given = np.zeros(users, dtype=int)
    found = offer_columns(policy, batch, given, np.zeros(users, dtype=bool), NIGHT)
    return found, drawn_variants(experiment, frame["user_id"], SETTINGS.seed)


def test_a_variant_speaks_in_its_languages_and_the_others_hear_the_play() -> None:
    half = (Variant(name="usual", share=0.5), Variant(name="short", share=0.5, subject="Hi"))
    found, drawn = shown(Experiment(name="e", variants=half))
    assert found["variant"].tolist() == ["short" if each else "usual" for each in drawn]
    assert set(found["experiment"]) == {"e"}
    kinds = {(variant, place % 4): (subject, message) for variant, place, subject, message in zip(
        found["variant"], range(200), found["subject"], found["message"], strict=True)}  # fmt: skip
    assert kinds["short", 1][0] == kinds["short", 3][0] == "Hi"  # of every stage that reads English
    assert kinds["short", 3][1] == kinds["usual", 3][1] == "Long ago!"  # only the subject is another
    assert kinds["short", 0] == kinds["usual", 0] == ("Für dich", "Bis 7. August 2024.")


def test_a_variant_with_a_translation_says_that() -> None:
    own = Translation(language="de", message="Nur bis {{ last_day }}!")
    half = (Variant(name="usual", share=0.5), Variant(name="short", share=0.5, message="Soon over.", texts=(own,)))
    found, drawn = shown(Experiment(name="e", variants=half))
    said = {(each, place % 4): text for each, place, text in zip(drawn, range(200), found["message"], strict=True)}
    assert said[1, 0] == said[1, 2] == "Nur bis 7. August 2024!"
    assert said[1, 1] == said[1, 3] == "Soon over."
    assert said[0, 1] == "Until 7 August 2024."


def test_an_hour_is_tried_where_it_may_be_and_else_the_nearest() -> None:
    hours = (Variant(name="usual", share=0.4), Variant(name="noon", share=0.3, send_hour=12),
             Variant(name="night", share=0.3, send_hour=4))  # fmt: skip
    found, drawn = shown(Experiment(name="e", variants=hours))
    clock = pd.to_datetime(found["send_at"]).hour
    assert set(clock[drawn == 1]) == {12}
    quiet = SETTINGS.contact
    assert not any(quiet.is_quiet(hour) for hour in clock)
    assert set(clock[drawn == 2]) == {quiet.quiet_until}
    assert set(found["send_hour_propensity"]) == {1.0}


def test_channels_are_tried_in_the_order_of_the_variant_at_no_more_cost(tmp_path: Path) -> None:
    own = catalogue(tmp_path, 'share = 0.5\nchannels = ["email", "push"]')
    users, both = pd.Series([f"u{number}" for number in range(400)]), np.arange(400) % 4 > 0
    drawn = drawn_variants(own.offers[0].running, users, 1)
    given = np.where(np.arange(400) % 10 == 9, NOTHING, 0)  # all that is shared out goes by push
    arm = np.array(["policy", "explore", "control", "policy"], dtype=object)[np.arange(400) // 100]
    cost = np.tile([0.01, 0.01], (400, 1))
    options = SimpleNamespace(catalogue=own, eligible=np.c_[np.ones(400, bool), both], value=np.ones((400, 2)),
                              expected_cost=cost)  # fmt: skip
    before = Assignment(arm, given, given, None, None, None, np.ones(400))
    found = Forbidden(np.zeros(400, np.int8), np.zeros((400, 2), np.int8))
    after, takes_part = in_channel_order(before, options, users, found, 1)
    meant = (given == 0) & both
    assert (takes_part == (meant & (arm == "policy"))).all()
    assert (after.given == np.where(takes_part & (drawn == 1), 1, given)).all()
    assert (after.intended == np.where(meant & (drawn == 1), 1, given)).all()  # which control and explorers are beside
    dearer = SimpleNamespace(**{**vars(options), "expected_cost": cost * [1.0, 3.0]})
    assert (in_channel_order(before, dearer, users, found, 1)[0].given == given).all()
    barred = Forbidden(found.everything, found.option + np.array([[0, 9]], np.int8))
    assert not in_channel_order(before, options, users, barred, 1)[1].any()
    with pytest.raises(InputError, match=r"'tone' moves users between channels, which a capacity of .*'push' forbids"):
        check_orders(small_settings(scoring={"channel_capacity": {"push": 5}}), own)


@pytest.mark.parametrize("stock", ["stock", "total_stock"])
def test_a_play_that_may_be_given_so_often_alone_is_moved_between_no_channels(tmp_path: Path, stock: str) -> None:
    own = catalogue(tmp_path, 'share = 0.5\nchannels = ["email", "push"]')
    few = Catalogue(offers=tuple(each.model_copy(update={stock: 3}) for each in own.offers))
    check_orders(SETTINGS, own)
    with pytest.raises(InputError, match=r"'tone' moves users between channels, which a stock forbids"):
        check_orders(SETTINGS, few)


CHANNELS = ("push", "email", "sms", "in_app")


@examples(max_examples=150, deadline=None)
@hypothesis.given(data=st.data())
def test_an_order_of_channels_moves_only_whom_it_may_at_no_more_cost_and_to_the_first_that_is_open(data) -> None:
    channels = data.draw(st.permutations(CHANNELS))[: data.draw(st.integers(2, 4))]
    levels = data.draw(st.sampled_from([(0.1,), (0.1, 0.3)]))
    orders = [data.draw(st.lists(st.sampled_from(channels), unique=True)) for _ in range(2)]
    variants = tuple(Variant(name=str(place), share=0.5, channels=tuple(each)) for place, each in enumerate(orders))
    tried = Experiment(name="order", variants=variants)
    own = Catalogue(offers=(offer("other"), *(
        offer(f"cart_{each}", play_id="cart", channel=each, discounts=levels, experiment=tried) for each in channels
    )))  # fmt: skip
    rng, users, options = np.random.default_rng(data.draw(st.integers(0, 10_000))), 12, len(own.options)
    ids = pd.Series([f"u{number}" for number in range(users)])
    before = Assignment(rng.choice(["policy", "explore", "control", "as_usual"], users).astype(object),
                        rng.integers(-1, options, users), rng.integers(-1, options, users), None, None, None,
                        np.ones(users))  # fmt: skip
    kept = before.given.copy(), before.intended.copy()
    known = SimpleNamespace(
        catalogue=own,
        eligible=rng.random((users, options)) < 0.7,
        value=rng.normal(1, 1, (users, options)),
        expected_cost=rng.uniform(0, 1, (users, options)),
    )
    found = Forbidden(np.zeros(users, np.int8), (rng.random((users, options)) < 0.2).astype(np.int8))
    after, takes_part = in_channel_order(before, known, ids, found, 1)
    assert (before.given == kept[0]).all() and (before.intended == kept[1]).all()  # its arguments stay
    is_moved, everybody = after.given != before.given, np.arange(users)
    assert not (is_moved & ~takes_part).any()
    assert set(before.arm[takes_part]) <= {"policy"}
    names = [(each.play_id or each.offer_id, share) for each in own.offers for share in each.shares]
    for was, now in ((before.given, after.given), (before.intended, after.intended)):
        assert [names[place] if place >= 0 else None for place in was] == [
            names[place] if place >= 0 else None for place in now
        ]  # the same play, at the same level
    given_something = everybody[before.given >= 0]
    cost = known.expected_cost
    assert cost[given_something, after.given[given_something]].sum() <= (
        cost[given_something, before.given[given_something]].sum() + 1e-9
    )
    may = known.eligible & (known.value > 0) & (found.option == 0)
    assert may[everybody[is_moved], after.given[is_moved]].all()
    drawn = drawn_variants(tried, ids, 1)
    for user in everybody[is_moved]:
        level = names[after.given[user]]
        open_by = [each.channel for place, each in enumerate(own.offer_of_options)
                   if names[place] == level and may[user, place]]  # fmt: skip
        order = [*orders[drawn[user]], *(each for each in channels if each not in orders[drawn[user]])]
        assert own.offer_of_options[after.given[user]].channel == next(each for each in order if each in open_by)
