"""Sentences about an erasure: what was removed, what still names the users, and copies outside of winback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from datetime import date

from configs.counted import counted
from features.erasure.copies_elsewhere import TakenAway
from features.erasure.erase_users import Erasure
from features.erasure.traces import Trace
from features.storage.lake import Lake

ANEW = "what rests on their days is computed anew by the next winback build-features"


def erasure_lines(lake: Lake, asked: Sequence[str], erasure: Erasure, raw: Sequence[Trace]) -> list[str]:
    """Report an erasure of the users `asked` for; `raw` are places in raw files that still name them."""
    more = len(erasure.ids) - len(asked)
    new = sum(user_id not in erasure.before and user_id not in erasure.unknown for user_id in asked)
    lines = [
        (f"{counted(new, 'user')} forgotten" if new else "nobody is forgotten anew")
        + (f", with {counted(more, 'other id that is', 'other ids that are')} theirs" if more > 0 else "")
    ]
    lines += earlier_entry_lines(erasure.before)
    told = ", ".join(f"{count:,} of {table}" for table, count in erasure.rows.items())
    lines += [f"rows erased: {told}; {ANEW}" if told else "no table held a row of theirs"]
    lines += _unknown_lines(lake, erasure.unknown) + send_list_lines(erasure.handed_over)
    lines += [*audience_lines(erasure.taken_away), *_printed_lines(erasure.unprinted)]
    lines += [f"searched {counted(erasure.looked_at, 'file')}, decoded and as bytes: {_verdict(erasure.traces)}"]
    lines += [f"left: {each}" for each in erasure.traces]
    if erasure.ambiguous:
        lines += [
            f"{len(erasure.ambiguous):,} of the ids are numbers, words or short, as other things may be, too: they "
            "were looked for in columns and lists of users, not in texts"
        ]
    if lake.stores.database:
        lines += ["copies on other machines lose them when winback next reads there; MLflow's and Prefect's tables in "
                  f"{lake.stores.database} were not searched"]  # fmt: skip
    if raw:
        some = ", ".join(dict.fromkeys(each.name for each in raw[:3])) + (", …" if len(raw) > 3 else "")
        lines += [f"outside of the data folder raw files still name them ({some}); no ingest takes their rows in"]
    return lines


def _unknown_lines(lake: Lake, unknown: Sequence[str]) -> list[str]:
    """Say of whom nothing is held, so that nothing was noted of them either."""
    if not unknown:
        return []
    return [
        f"nothing is held of {unknown[0]!r}{_and_others(unknown)} in {lake.root}, nor on its suppression list, and "
        "nothing was noted: compare the id with winback export-user, or ingest first what still names them"
    ]


def send_list_lines(days: Sequence[date]) -> list[str]:
    """Warn of send lists that named them: what was handed over is out of winback's hands."""
    if not days:
        return []
    earlier = f" (and {len(days) - 1:,} of earlier days)" if len(days) > 1 else ""
    return [
        f"the send list of {days[-1]}{earlier} named them: if it was handed over, tell whoever sends; the next "
        "winback send-list leaves them out"
    ]


def audience_lines(taken: Sequence[TakenAway]) -> list[str]:
    """Warn of audiences that left by the desk, which may name them."""
    if not taken:
        return []
    last = taken[-1]
    to = f"{last.what} by {last.who}" if last.what != "audience" else f"taken by {last.who}"
    earlier = f", and {len(taken) - 1:,} before it" if len(taken) > 1 else ""
    people = counted(last.people, "person", "people")
    return [
        f"an audience of {people} left by the desk on {last.at[:10]} ({to}){earlier}, which may name them: tell "
        "whoever has it"
    ]


def _printed_lines(names: Sequence[str]) -> list[str]:
    """Say which reports on paper went, as they may name them."""
    if not names:
        return []
    return [
        f"{names[-1]}{_and_others(names)} may have named them and was removed: winback report --pdf writes it "
        "anew; copies of it are not winback's to find"
    ]


def recounted_lines(days: Sequence[date], not_recounted: Sequence[str]) -> list[str]:
    """Say which days were recounted without the users, and add the sentences about those that were not."""
    span = f"{days[0]} to {days[-1]}" if len(days) > 1 else "".join(map(str, days))
    told = (
        f"{counted(len(days), 'day')} ({span}) added up without them: desk, budget curve, audit and the newest report"
    )
    return [*([told] if days else []), *not_recounted]


def _verdict(traces_left: Sequence[Trace]) -> str:
    return f"{len(traces_left):,} places still name them" if traces_left else "nothing names them any more"


def earlier_entry_lines(before: Mapping[str, tuple[str, date]]) -> list[str]:
    """Say who had been on the suppression list before: reason and day by user id."""
    if not before:
        return []
    user_id, (reason, day) = next(iter(before.items()))
    return [f"{user_id!r}{_and_others(before)} stood on the suppression list before ({reason}, since {day})"]


def _and_others(all_of_them: Sized) -> str:
    """Count those beside the one that is named."""
    return f" and {len(all_of_them) - 1:,} others" if len(all_of_them) > 1 else ""
