"""JupyterLab, started as `make lab` starts it, serves the book and runs a chapter to the end."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import pytest
import websocket
from book import ROOT, chapters, read

TOKEN = uuid.uuid4().hex
START_SECONDS, CELL_SECONDS = 60, 120


class Lab:
    """A running server, asked through its REST API."""

    def __init__(self, port: int):
        self.host = f"127.0.0.1:{port}"

    def ask(self, path: str, body=None):
        request = urllib.request.Request(
            f"http://{self.host}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait_until_it_answers(self, process, log):
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                return self.ask("status")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")

    @contextlib.contextmanager
    def kernel(self, path: str):
        """A channel to the kernel of a new session, as the notebook's own tab opens it."""
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        kernel = self.ask("sessions", body)["kernel"]["id"]
        url = f"ws://{self.host}/api/kernels/{kernel}/channels?token={TOKEN}"
        channel = websocket.create_connection(url, timeout=CELL_SECONDS)
        try:
            yield channel
        finally:
            channel.close()


def execute(channel, code: str) -> str | None:
    """Run code in the kernel behind a channel; return the error that it raised, if any."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
    header |= {"username": "", "session": "test"}
    content = {"code": code, "silent": False, "store_history": False, "stop_on_error": False}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}}
    channel.send(json.dumps({**message, "content": content}))
    while True:
        answer = json.loads(channel.recv())
        ours = answer["parent_header"].get("msg_id") == header["msg_id"]
        if ours and answer["header"]["msg_type"] == "execute_reply":
            result = answer["content"]
            return None if result["status"] == "ok" else f"{result['ename']}: {result['evalue']}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The command of the Makefile, without a browser and away from the user's settings."""
    folder = tmp_path_factory.mktemp("lab")
    log, port = folder / "log", free_port()
    options = ["--no-browser", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    options += [f"--IdentityProvider.token={TOKEN}", "--ServerApp.ip=127.0.0.1"]
    options += ["--allow-root"] if hasattr(os, "getuid") and os.getuid() == 0 else []
    names = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", "nbs/index.ipynb", *options],
            cwd=ROOT,
            env=os.environ | {name: str(folder / name) for name in names},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        server = Lab(port)
        server.wait_until_it_answers(process, log)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


def fastest_chapter() -> str:
    """By the seconds that `make record` wrote into each notebook."""
    recorded = {
        path.name: read(path).metadata.get("dlbook", {}).get("recorded", {}).get("seconds", 1e9)
        for path in chapters()
    }
    return min(recorded, key=recorded.get)


def test_the_front_page_and_every_chapter_are_served(lab):
    names = {entry["name"] for entry in lab.ask("contents")["content"]}
    assert {path.name for path in chapters()} <= names
    index = lab.ask("contents/index.ipynb")["content"]
    assert index["cells"][0]["source"].startswith("# ")


def test_a_chapter_runs_to_the_end(lab):
    path = fastest_chapter()
    cells = [c for c in lab.ask(f"contents/{path}")["content"]["cells"] if c["cell_type"] == "code"]
    assert len(cells) > 5
    with lab.kernel(path) as channel:
        for cell in cells:
            error = execute(channel, cell["source"])
            wanted = "raises-exception" in cell["metadata"].get("tags", [])
            assert bool(error) == wanted, f"{path}: {error}\n{cell['source']}"


def test_a_failing_cell_is_seen(lab):
    with lab.kernel("index.ipynb") as channel:
        assert execute(channel, "1 / 0") == "ZeroDivisionError: division by zero"
        assert execute(channel, "1 + 1") is None
