"""Runs as files: whole, lean, and readable whoever wrote them."""

import json
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import pytest

import tpwidgets as tp
from tpwidgets import store
from tpwidgets.errors import SettingsError
from tpwidgets.run import Run
from tpwidgets.samples import Sample, Window

pytestmark = pytest.mark.quick


def sample(number: int, tokens: int = 3, **changed: object) -> Sample:
    token_ms = [200.0 + number / 1e6 + 10 * i for i in range(tokens)]
    known = {"output_tokens": tokens, "server_prefill_ms": 1.5, "message": 'a "quoted" {text}]'}
    return Sample(f"r{number}", 0, 1, sent_s=number / 3, token_ms=token_ms, **known | changed)


def run(samples: list[Sample]) -> Run:
    # "samples" within the conditions isn't the list of samples
    conditions = {"model": "m", "extra_body": {"samples": ["not", "these"]}, "notes": ["ü"]}
    return Run(samples, [Window(1, 0.0, 2.0)], conditions, "stopped", tp.Price.per_hour(3))


def same(a: Run, b: Run) -> bool:
    return all(
        getattr(a, name) == getattr(b, name)
        for name in ("samples", "windows", "conditions", "state", "price")
    )


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_it_comes_back(name: str, tmp_path: Path) -> None:
    kept = run([sample(i) for i in range(5)] + [sample(9, 0, status="timeout")])
    assert same(tp.load(kept.save(tmp_path / name)), kept)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_of_one_line_or_many_is_read(indent: int | None, tmp_path: Path) -> None:
    """As it was written before, and as a formatter leaves it: any order, any spaces."""
    kept = run([sample(1), sample(2)])
    rows = [asdict(s) | {"token_ms": list(s.token_ms)} for s in kept.samples]
    document = {
        "samples": rows, "format": store.FORMAT, "state": kept.state,
        "price": asdict(kept.price), "conditions": kept.conditions,
        "windows": [asdict(w) for w in kept.windows],
    }  # fmt: skip
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document, indent=indent))
    assert same(tp.load(path), kept)


def test_a_file_is_json_a_line_for_each_request(tmp_path: Path) -> None:
    text = run([sample(1), sample(2)]).save(tmp_path / "run.json").read_text()
    assert [s["request_id"] for s in json.loads(text)["samples"]] == ["r1", "r2"]
    assert len(text.splitlines()) == 4
    assert same(tp.load(tmp_path / "run.json"), run([sample(1), sample(2)]))
    empty = run([]).save(tmp_path / "empty.json")
    assert json.loads(empty.read_text())["samples"] == tp.load(empty).samples == []


def test_what_other_versions_say_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    path = run([sample(1), sample(20)]).save(tmp_path / "run.json")
    document = json.loads(path.read_text())
    document["samples"][0]["of_tomorrow"] = 1
    document["windows"][0]["client_error_ms"] = [0.25] * 99 + [7.0]  # said by the window, once
    path.write_text(json.dumps(document))
    inside, outside = tp.load(path).samples
    assert inside.client_error_ms == 7.0
    assert outside.client_error_ms == 0.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text + "{}", "holds no run"),
        (lambda text: text[:-9], "holds no run"),
        (lambda text: text.replace('"r1"', "r1"), "holds no run"),
        (lambda text: text.replace('"status":"ok"', '"status":5'), "holds no run"),
        (lambda text: text.replace(store.FORMAT, "tpwidgets.run/9"), "another version"),
    ],
)
def test_what_is_damaged_is_refused(change, said: str, tmp_path: Path) -> None:
    path = run([sample(1)]).save(tmp_path / "run.json")
    path.write_text(change(path.read_text()))
    with pytest.raises(SettingsError, match=said):
        tp.load(path)


def test_an_interrupted_save_leaves_the_older_file(tmp_path: Path) -> None:
    path = run([sample(1)]).save(tmp_path / "run.json")

    class Interrupting(list[Sample]):
        def __iter__(self):
            yield sample(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Interrupting()).save(path)
    assert same(tp.load(path), run([sample(1)]))
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_memory_is_that_of_the_stamps(tmp_path: Path) -> None:
    """10 million tokens have to fit into a kernel: little more than 8 bytes for each."""
    kept = run([sample(i, 1000) for i in range(400)])
    tokens, megabyte = 400_000, 1 << 20
    tracemalloc.start()
    kept.save(tmp_path / "run.json")
    saving = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    again = tp.load(tmp_path / "run.json")
    loading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert saving < 1 * megabyte
    assert loading < 8 * tokens + 4 * megabyte
    assert len(again.samples) == 400
