"""Offers: the catalogue that an operator writes, and its messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import InputError
from configs.named_files import FOLDER
from configs.offers import NO_OFFER, POLICIES, load_catalogue
from configs.settings import load_settings
from models.policy_value.policy_verdict import NOBODY, PERSONAL
from serving.lookups.configuration_check import check_offers
from serving.messages.checked_texts import text_faults
from serving.policy_evaluation.named_policies import BLIND_BEST, CHAMPION, RELEARNT, TOP_RISK
from serving.wording.language_file import load_language

OFFER = {
    "title": '"A"',
    "play": '"p"',
    "channel": '"push"',
    "message": '"{{ discount }} off"',
    "discounts": "[0.1, 0.2]",
    "valid_days": "7",
    "contact_cost": "0.1",
    "covered_spend": "10.0",
}


def catalogue_file(folder: Path, **changes: str) -> str:
    path = folder / "mine.toml"
    lines = [f"{key} = {value}" for key, value in (OFFER | changes).items()]
    path.write_text("\n".join(["[a]", *lines]), encoding="utf-8")
    return str(path)


def test_options_are_every_discount_of_every_offer_in_order(tmp_path):
    options = load_catalogue(catalogue_file(tmp_path)).options
    assert options == [("a", 0.1), ("a", 0.2)]


@pytest.mark.parametrize("path", sorted((FOLDER / "offers").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_catalogue_is_valid_and_its_messages_can_be_written(path):
    settings = load_settings(offers=path.stem)
    catalogue = load_catalogue(path.stem)
    assert list(text_faults(settings, catalogue, load_language("en"))) == []
    for offer in catalogue.offers:
        assert {"de"} <= {text.language for text in offer.texts}


def test_the_empty_catalogue_has_no_options():
    assert load_catalogue(NO_OFFER).options == []


@pytest.mark.parametrize("name", ["", " ", "a ", "a\\nb", "a\\u0000", "\\u200b"])
def test_an_id_that_cannot_be_seen_is_refused(tmp_path, name):
    path = Path(catalogue_file(tmp_path))
    path.write_text(path.read_text().replace("[a]", f'["{name}"]'))
    with pytest.raises(InputError, match="offer_id: a name begins and ends with a sign that can be seen"):
        load_catalogue(str(path))


def test_an_unknown_offer_is_named(tmp_path):
    with pytest.raises(InputError, match=r"offer 'come_bak' is not in the catalogue; did you mean 'come_back'\?"):
        load_catalogue("example")["come_bak"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_discont": "1"}, "'max_discont' in offer 'a' of .*mine.toml is not a setting"),
        ({"discount": "0.1"}, "'discount' in offer 'a' of .* is not a setting; did you mean 'discounts'?"),
        ({"contact_cost": "inf"}, "contact_cost: .*finite number, found inf in offer 'a'"),
        ({"covered_spend": "nan"}, "covered_spend: .*finite number, found nan in offer 'a'"),
        ({"contact_cost": "1e300"}, "contact_cost: .*less than or equal to"),
        ({"valid_days": "1_000_000_000"}, "valid_days: .*less than or equal to 3660, found 1000000000"),
        ({"stock": "99999999999999999999"}, "stock: .*less than or equal to"),
        ({"channel": '" "'}, "channel: a name begins and ends with a sign that can be seen"),
        ({"discounts": "[0.2, 0.1]"}, "discounts: discounts must rise without repeats, found .*0.2, 0.1"),
        ({"discounts": "[1.2]"}, "discounts.0: .*less than or equal to 1, found 1.2"),
        ({"discounts": "[]"}, "discounts: .*at least 1 item"),
        (
            {"message": '"$discount off until ${valid_until}"'},
            "message: fields are written otherwise now: {{ discount }} off until {{ last_day }}, found",
        ),
        ({"texts": "[{message = 'Hi'}]"}, "text 1 is for everybody, and so is the offer's own; name other readers"),
        ({"texts": "[{language = 'de'}]"}, "'texts.0.message' is missing"),
        ({"valid_days": "true"}, "valid_days: must be a whole number .*, found true"),
        ({"stock": "true"}, "stock: must be a whole number .*, found true"),
        ({"contact_cost": "true"}, "contact_cost: must be a number, .*, found true"),
        ({"discounts": "[true]"}, "discounts.0: must be a number, .*, found true"),
        ({"valid_days": "0"}, "valid_days: .*greater than 0, found 0"),
        ({"benefit": '"amount"'}, "the benefit amount has no discounts"),
        ({"levels": "[5.0]"}, "the benefit percent has no levels"),
        (
            {"benefit": '"cashback"'},
            "benefit: .*'percent', 'amount', 'free_days', 'points', 'shipping' or 'none', found 'cashback'",
        ),
        ({"scope": '"everything"'}, "scope: a scope is order, featured_category or a column of money over a window"),
        ({"contact_cost": "-1"}, "contact_cost: .*greater than or equal to 0, found -1"),
    ],
)
def test_a_mistake_in_an_offer_gives_one_sentence(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        load_catalogue(catalogue_file(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"levels": ""}, "the benefit points needs levels"),
        ({"unit_cost": ""}, "the benefit points needs unit_cost, what one of them costs you"),
        ({"levels": "[2000]"}, "its highest level is worth more than covered_spend = 10, which earns it"),
        ({"levels": "[200, 100]"}, "levels: levels must rise without repeats"),
    ],
)
def test_a_benefit_that_is_no_percentage_has_levels_of_its_own(tmp_path, changes, sentence):
    points = {
        "benefit": '"points"',
        "levels": "[100, 200]",
        "unit_cost": "0.01",
        "message": '"{{ benefit }}"',
    } | changes
    path = Path(catalogue_file(tmp_path, **{name: value for name, value in points.items() if value}))
    path.write_text(path.read_text("utf-8").replace("discounts = [0.1, 0.2]\n", ""), "utf-8")
    with pytest.raises(InputError, match=sentence):
        load_catalogue(str(path))


def test_all_that_is_missing_in_an_offer_is_named_at_once_with_its_meaning(tmp_path):
    (tmp_path / "mine.toml").write_text(
        "[a]\ntitle = 'A'\nchannel = 'mail'\nmessage = 'Hi'\ndiscounts = [0.1]\n", "utf-8"
    )
    named = r"'play', 'valid_days', 'contact_cost', 'covered_spend' are missing in offer 'a' of .*mine.toml; add them"
    with pytest.raises(InputError, match=named + r" \(play: the kind of message .*; covered_spend: spend that"):
        load_catalogue(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", [*POLICIES, "Top_risk"])
def test_an_offer_with_the_name_of_a_policy_is_one_sentence(tmp_path: Path, name: str):
    (tmp_path / "offers.toml").write_text(f'["{name}"]\ntitle = "x"\n', encoding="utf-8")
    with pytest.raises(InputError, match="bears the name of a policy, beside which it is evaluated; name it other"):
        load_catalogue(str(tmp_path / "offers.toml"))


def test_every_policy_that_is_evaluated_by_itself_keeps_its_name():
    assert set(POLICIES) == {NOBODY, PERSONAL, CHAMPION, BLIND_BEST, TOP_RISK, RELEARNT}


@pytest.mark.parametrize("text", ["budget = 3", "[none]\ntitle = 'x'"])
def test_what_is_no_offer_is_refused(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is not an offer; write one table per offer, named other than 'none'"):
        load_catalogue(str(tmp_path / "mine.toml"))


def test_bad_toml_names_the_file_and_the_place(tmp_path):
    (tmp_path / "mine.toml").write_text("[a\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.toml is not valid TOML .*line 1"):
        load_catalogue(str(tmp_path / "mine.toml"))


def test_an_unknown_catalogue_name_suggests_the_nearest():
    with pytest.raises(InputError, match=r"offer catalogue 'exampel' was not found .* did you mean 'example'\?"):
        load_catalogue("exampel")


def test_a_scope_that_is_no_column_of_money_is_a_fault(tmp_path):
    ours = load_settings().model_copy(update={"offers": catalogue_file(tmp_path, scope='"spent_sum_90d"')})
    with pytest.raises(
        InputError, match=r"scope 'spent_sum_90d' of offer 'a' is no column of money; did you mean 'spe"
    ):
        check_offers(ours)
    check_offers(load_settings().model_copy(update={"offers": catalogue_file(tmp_path, scope='"spend_sum_90d"')}))
