"""A key is in nothing that is saved with a notebook: not in widgets' state, not in outputs."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import ipywidgets as w
import pytest
from hostile import PATIENCE_S, Api, Request, Server, answer, said
from ipywidgets.embed import embed_minimal_html
from marked import KEY, assert_no_trace
from nbconvert import HTMLExporter

import tpwidgets as tp


def quoting(request: Request) -> bytes:
    key = request.headers["authorization"]
    return said(
        {"error": {"message": f"{request.headers} {quote(key)}"}}, "401 No\r\nx-said: " + key
    )


def chat(request: Request) -> bytes:
    """Answer, but quote the key to who asks for another model."""
    if request.json["model"] == "bad":
        return quoting(request)
    return answer(3, prompt=len(request.json["messages"][0]["content"].split()))


@pytest.fixture
def server() -> Iterator[Server]:
    api = Api(chat_completions=chat)
    api.routes["/bad/models"] = quoting
    with Server(api) as server:
        yield server


def test_a_typed_key_is_in_no_state_of_a_widget(server: Server) -> None:
    explorer = tp.Explorer(server.url, concurrency=1, requests=2, output_tokens=3)
    field = explorer.controls._key
    field._menu.value = "type it in…"
    with pytest.raises(tp.SettingsError, match="the key"):
        explorer.controls.endpoint()
    field._typed._handle_custom_msg({"type": "key", "text": KEY}, [])
    explorer.measure()
    measurement = explorer.measurement
    assert measurement is not None
    run = measurement.wait(PATIENCE_S)
    page = io.StringIO()
    embed_minimal_html(page, views=[explorer])
    # all that there are, whether or not they can be seen
    state = json.dumps(w.Widget.get_manager_state())
    explorer.close()
    assert run.state == "done"
    assert run.conditions["key_from"] == "typed in"
    assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    assert "tp-key-from" in page.getvalue()
    assert "tp-key-from" in state
    assert_no_trace(page.getvalue() + state + repr(explorer))


def test_a_key_is_typed_in_and_forgotten(server: Server) -> None:
    explorer = tp.Explorer(server.url, key=tp.Key.env("TP_KEY"))
    field = explorer.controls._key
    told: list[dict[str, object]] = []
    field._typed.send = told.append
    field._menu.value = "type it in…"
    for content in (
        {"type": "ready"},
        {"type": "key", "text": f"{KEY}\u2713"},
        {"type": "key", "text": KEY},
        {"type": "forget"},
    ):
        field._typed._handle_custom_msg(content, [])
    explorer.close()
    assert [message["set"] for message in told] == [False, False, True, False]
    assert [message["bad"] for message in told] == [False, True, False, False]
    assert "memory only" in str(told[2]["text"])
    assert_no_trace(str(told))


def test_what_looks_like_a_key_does_not_stay_in_a_box() -> None:
    explorer = tp.Explorer("http://127.0.0.1:9", key=tp.Key.keyring("openai", "me"))
    field = explorer.controls._key
    assert field.value == tp.Key.keyring("openai", "me")
    field._user.value = KEY
    state = json.dumps(w.Widget.get_manager_state())
    explorer.controls._url.value = f"ftp://host/?key={KEY}"
    state += json.dumps(w.Widget.get_manager_state())
    explorer.close()
    assert field._user.value == ""
    assert_no_trace(state)


CELLS = """
import logging, os, tpwidgets as tp
logging.basicConfig(level=logging.DEBUG)
url, settings = os.environ["URL"], dict(concurrency=1, requests=2, output_tokens=3)
# %%
run = tp.measure(url, key=tp.Key.env("TP_KEY"), **settings)
display(run.points, run.requests, run.conditions)
print(run.save("run.json").read_text())
run.report("run.html")
run
# %%
explorer = tp.Explorer(url, **settings)
field = explorer.controls._key
field._menu.value = "type it in…"
field._typed._handle_custom_msg({"type": "key", "text": os.environ["TP_KEY"]}, [])
explorer
# %%
explorer.measure()
print(explorer.measurement.wait(60).conditions)
explorer.measurement, explorer.measurement.endpoint
# %%
tp.measure(url, model="bad", key=tp.Key.env("TP_KEY"))
# %%
tp.measure(url, key=tp.Key.prompt())
# %%
tp.measure(url, key=os.environ["TP_KEY"])
# %%
%xmode Verbose
tp.measure(url, model="bad", key=field._typed.key)
# %%
from tpwidgets.endpoints.discovery import list_models
list_models(tp.Endpoint(url.replace("/v1", "/bad"), key=field._typed.key))
""".strip().split("\n# %%\n")
"""The last five raise."""


def test_a_key_is_in_no_notebook_that_was_executed(server: Server, tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "source": source,
         "execution_count": None, "outputs": []}
        for number, source in enumerate(CELLS)
    ]  # fmt: skip
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    book = {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "book.ipynb").write_text(json.dumps(book), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--execute", "--allow-errors", "--to", "notebook",
         "--output", "done.ipynb", "book.ipynb"],
        cwd=tmp_path, env={**os.environ, "TP_KEY": KEY, "URL": server.url},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = (tmp_path / "done.ipynb").read_text("utf-8")
    html, _ = HTMLExporter().from_filename(str(tmp_path / "done.ipynb"))
    outputs = [cell["outputs"] for cell in json.loads(found)["cells"]]
    raised = [
        number
        for number, shown in enumerate(outputs)
        if any(output["output_type"] == "error" for output in shown)
    ]
    assert raised == [4, 5, 6, 7, 8]
    for expected in ("environment variable TP_KEY", "typed in", "refused access", "nobody here",
                     "tp-key-from"):  # fmt: skip
        assert expected in found
    assert f"Bearer {KEY}" in {request.headers.get("authorization") for request in server.requests}
    assert_no_trace(found + html + done.stdout + done.stderr)
    assert_no_trace((tmp_path / "run.json").read_text("utf-8"))
    page = (tmp_path / "run.html").read_text("utf-8")
    held = [
        base64.b64decode(data).decode("utf-8") for data in re.findall(r";base64,([^\"]+)", page)
    ]
    assert len(held) > 3  # pictures and tables
    assert_no_trace(page + "".join(held))
