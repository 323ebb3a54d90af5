"""A scheduled run that fails: its reason is kept, and posted where the operator wants to hear of it, nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.blocks.system import Secret
from prefect.states import Crashed, Failed, State

from configs.errors import InputError
from features.storage.lake import Lake
from flows.runs import failure_notice, run_records
from flows.runs.failure_notice import ADDRESS_VARIABLE, tell_failure
from flows.runs.run_records import recorded

FLOW = SimpleNamespace(name="score-daily")


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str | None]]]:
    """What a webhook on this machine receives."""
    received: list[dict[str, str | None]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(ADDRESS_VARIABLE, f"http://127.0.0.1:{server.server_port}/hook")
        yield received
        server.shutdown()


def failed(lake: Lake, state: State, **given: object) -> SimpleNamespace:
    run = SimpleNamespace(id=uuid4(), parameters={"data_dir": str(lake.root), **given}, start_time=None)
    tell_failure(FLOW, run, state)  # type: ignore[arg-type]
    return run


def test_a_run_that_failed_before_it_could_leave_a_record_gets_one_and_is_posted(
    posted: list[dict[str, str | None]], tmp_path: Path
) -> None:
    lake = Lake(tmp_path / "data")
    run = failed(lake, Failed(message="parameters:\n - as_of: no date"), as_of="tomorrow")
    (record,) = run_records.run_records(lake)
    assert (record.outcome, record.reason, record.as_of) == ("failed", "parameters: - as_of: no date", "tomorrow")
    (told,) = posted
    assert told["text"] == "winback score-daily failed: parameters: - as_of: no date"
    assert (told["data"], told["flow_run"], told["run"]) == ("data", str(run.id), record.run)


def test_the_reason_that_a_run_left_is_the_one_that_is_posted(
    posted: list[dict[str, str | None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, run = Lake(tmp_path), uuid4()
    monkeypatch.setattr(run_records, "_flow_run", lambda: str(run))
    with pytest.raises(InputError), recorded(lake, "score-daily"):
        raise InputError("no models; train first")
    asked = SimpleNamespace(id=run, parameters={"data_dir": str(lake.root)}, start_time=None)
    tell_failure(FLOW, asked, Failed(message="anything"))  # type: ignore[arg-type]
    assert [told["text"] for told in posted] == ["winback score-daily refused: no models; train first"]
    assert len(run_records.run_records(lake)) == 1


def test_a_run_that_was_killed_is_told_of_by_the_process_that_started_it(
    posted: list[dict[str, str | None]], tmp_path: Path
) -> None:
    lake, run = Lake(tmp_path), uuid4()
    begun = run_records.RunRecord(
        "r", "score-daily", None, "2024-01-01T05:00:00+00:00", None, "running", None, "h", 1, str(run)
    )
    run_records.keep_record(lake, begun)
    asked = SimpleNamespace(id=run, parameters={"data_dir": str(lake.root)}, start_time=None)
    tell_failure(FLOW, asked, Crashed(message="exited with status code: -9"))  # type: ignore[arg-type]
    (record,) = run_records.run_records(lake)
    assert (record.outcome, posted[0]["outcome"]) == ("killed", "killed")
    assert record.ended is not None


def test_nobody_is_connected_to_unless_an_address_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    monkeypatch.setattr(failure_notice, "post", lambda *_: pytest.fail("nobody asked for that"))
    failed(Lake(tmp_path), Failed(message="why"))
    assert [record.reason for record in run_records.run_records(Lake(tmp_path))] == ["why"]


@pytest.mark.parametrize(
    "address", ["ftp://somewhere/secret", "http://127.0.0.1:9/secret", "http://[/secret", "http://127.0.0.1:secret/"]
)
def test_an_address_that_does_not_answer_is_told_without_its_secret(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    failure_notice.post(address, {"text": "x"})
    said = capsys.readouterr().err
    assert "winback: the " in said and "secret" not in said.replace("may be a secret", "")


def test_a_secret_of_prefect_that_the_configuration_names_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "https://environment/hook")
    monkeypatch.setattr(Secret, "load", lambda name: SimpleNamespace(get=lambda: f"https://{name}/hook"))
    assert failure_notice.webhook_address("pager") == "https://pager/hook"
    assert failure_notice.webhook_address("") == "https://environment/hook"
