"""The demo page as a user meets it: tools/demo.py, and Chromium without a screen."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import slowfast
from helpers.runs import tiny_cfg
from helpers.source import ROOT
from helpers.videos import write_grey_video
from slowfast.inference import Recognizer
from slowfast.models import build_model
from slowfast.weights import save

pytestmark = pytest.mark.page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
NAMES = [f"class_{k}" for k in range(16)]
START = 300  # seconds for the server to come up on a busy machine
WAIT = 60_000  # milliseconds for a result
# Runs a program and writes down every address outside of this machine that it turns to.
WATCHED = """
import ipaddress, runpy, sys
notes = sys.argv.pop(1)
def is_here(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in (None, "", "localhost")
def watch(event, args):
    hosts = {"socket.getaddrinfo": lambda: args[0], "socket.connect": lambda: args[1][0]}
    if event in hosts and not (event == "socket.connect" and isinstance(args[1], (str, bytes))):
        host = hosts[event]()
        if not is_here(host.decode() if isinstance(host, bytes) else host):
            open(notes, "a").write(f"{event} {host}\\n")
sys.addaudithook(watch)
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Server(NamedTuple):
    """A running page: its port, its network, an upload, and where its uploads and notes are."""

    port: int
    recognizer: Recognizer
    video: Path
    temporary: Path
    notes: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, bytes]:
        """The status and body of `path`, sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def post(self, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def compare(self, path: str, session: str) -> str:
        """What the server answers to a visitor who says that `path` is the video."""
        video = {"path": path, "meta": {"_type": "gradio.FileData"}}
        event = {"data": [video, 2, 4, 0, 0], "fn_index": self.event(), "session_hash": session}
        status, body = self.post(
            "/gradio_api/queue/join", json.dumps(event).encode(), "application/json"
        )
        assert status == 200, body
        return self.get(f"/gradio_api/queue/data?session_hash={session}")[1].decode()

    def event(self) -> int:
        """The number of the function that fills the columns."""
        config = json.loads(self.get("/config")[1])
        (found,) = [d["id"] for d in config["dependencies"] if len(d["inputs"]) == 5]
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory, motion) -> Iterator[Server]:
    """tools/demo.py on a network that was never trained, with results and examples."""
    folder = tmp_path_factory.mktemp("page")
    torch.manual_seed(0)
    cfg = tiny_cfg(motion, folder)
    checkpoint = folder / "run/checkpoints/best.safetensors"
    checkpoint.parent.mkdir(parents=True)
    save(build_model(cfg), cfg, checkpoint, NAMES)
    write_results(folder / "run/results/test.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = folder / "tmp"
    temporary.mkdir()
    watched = [sys.executable, "-c", WATCHED, str(folder / "notes")]
    options = ["--port", str(port), "--examples", str(motion), "--max-mb", "1"]
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [*watched, str(ROOT / "tools/demo.py"), str(checkpoint), *options],
            stdout=log,
            stderr=log,
            env=os.environ | {"TMPDIR": str(temporary)},
            cwd=folder,
        )
        try:
            wait_for(process, folder / "log")
            video = write_grey_video(folder / "grey clip.mp4")
            yield Server(port, slowfast.load(checkpoint), video, temporary, folder / "notes")
        finally:
            process.terminate()
            process.wait(30)
    raised = re.findall(r"^\S*(?:Error|Exception)\b.*", (folder / "log").read_text(), re.MULTILINE)
    assert [line for line in raised if "InvalidPathError" not in line] == []
    assert not list(temporary.glob("slowfast-demo-*")), "uploads are left behind"
    assert not (folder / "notes").exists(), (folder / "notes").read_text()


def write_results(path: Path) -> None:
    path.parent.mkdir(parents=True)
    record = {"metric": "top1", "num_classes": 16, "crop": 16, "views": [1, 1]}
    rows = {"by_frames": {"2": {"top1": 12.5}, "4": {"top1": 34.75}}}
    path.write_text(json.dumps(record | rows | {"coverage": {"videos": 8, "read": 8}}))


def wait_for(process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START
    while "serving on http://127.0.0.1" not in log.read_text():
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert program, f"none of {', '.join(BROWSERS)} is installed: tests/page/install.sh"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture
def visit(server, browser):
    """Opens the page; at the end, nothing came from elsewhere and no script failed."""
    asked, failed, contexts = [], [], []

    def open_page(viewport=DESKTOP):
        contexts.append(browser.new_context(viewport=viewport))
        page = contexts[-1].new_page()
        page.set_default_timeout(WAIT)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(server.address)
        page.wait_for_selector("#card-b")
        return page

    yield open_page
    for context in contexts:
        context.close()
    own = (server.address, "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
    assert failed == []


def upload(page, path):
    page.set_input_files("#video input[type=file]", str(path))


def frames_shown(page, side):
    """The numbers of the frames in a column."""
    pictures = page.query_selector_all(f"#card-{side} .ffn-strip img")
    return [int(p.get_attribute("alt").removeprefix("frame ")) for p in pictures]


def wait_for_frames(page, side, count):
    page.wait_for_function(
        f"document.querySelectorAll('#card-{side} .ffn-strip img').length == {count}"
    )


def test_an_uploaded_video_is_recognised_at_both_rates(server, visit):
    page = visit()
    upload(page, server.video)
    for side, count, percent in (("a", 2, "12.5 %"), ("b", 4, "34.8 %")):
        wait_for_frames(page, side, count)
        expected = server.recognizer.predict(server.video, frames=count)
        assert frames_shown(page, side) == list(expected.indices)
        text = page.inner_text(f"#card-{side}")
        assert text.startswith(f"{expected.label} ") and f"from {count} frames" in text
        assert all(label in text for label in expected.labels)
        assert percent in text and f"{expected.gflops:.3g}" in text
        assert re.search(r"network\s+[\d.]+ ms\s+decoding\s+[\d.]+ ms", text)


def test_sliding_changes_the_frames_of_one_column(server, visit):
    page = visit()
    upload(page, server.video)
    wait_for_frames(page, "b", 4)
    page.get_by_label("range slider for Frames B").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    wait_for_frames(page, "b", 7)
    assert frames_shown(page, "b") == server.recognizer.read(server.video, 7).indices.tolist()
    assert "run at the rate of 4 frames" in page.inner_text("#card-b")
    assert len(frames_shown(page, "a")) == 2
    page.get_by_label("number input for Frames A").fill("5")
    wait_for_frames(page, "a", 5)


def test_an_example_is_one_click(server, visit):
    page = visit()
    page.get_by_role("button", name="clockwise", exact=True).click()
    wait_for_frames(page, "a", 2)
    assert "2 of " in page.inner_text("#card-a")


@pytest.mark.parametrize("name", ["broken.mp4", "${7*7}{{7*7}}<b>.mp4"])
def test_a_corrupt_upload_is_named_in_the_page(server, visit, tmp_path, name):
    (tmp_path / name).write_bytes(b"no video at all " * 100)
    page = visit()
    upload(page, tmp_path / name)
    said = page.wait_for_selector("#message [role=alert]").inner_text()
    assert said.endswith("is not a video file (Invalid data found when processing input)")
    assert "49" not in said and "/" not in said.partition(" is not")[0]
    assert "Traceback" not in page.content()
    upload_again(page, server.video)
    wait_for_frames(page, "a", 2)


def upload_again(page, path):
    page.locator("#video button[aria-label=Clear]").last.click()
    page.wait_for_selector("#video input[type=file]", state="attached")
    upload(page, path)


def test_an_upload_that_is_too_large_is_refused(server, visit, tmp_path):
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(1_500_000))
    page = visit()
    upload(page, large)
    page.get_by_text(re.compile("exceed", re.IGNORECASE)).first.wait_for()
    parts = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    status, _ = server.post(
        "/gradio_api/upload",
        parts + bytes(1_500_000) + b"\r\n--x--\r\n",
        "multipart/form-data; boundary=x",
    )
    assert status == 413


def test_a_phone_has_everything_in_one_column(server, visit):
    page = visit(PHONE)
    upload(page, server.video)
    wait_for_frames(page, "b", 4)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    boxes = [page.locator(f"#card-{side} .ffn-card").bounding_box() for side in "ab"]
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] for box in boxes)


def test_a_computer_has_everything_on_one_screen(server, visit):
    page = visit()
    upload(page, server.video)
    page.get_by_label("number input for Frames B").fill("8")
    wait_for_frames(page, "b", 8)
    assert page.evaluate("document.documentElement.scrollHeight") <= DESKTOP["height"]
    boxes = [page.locator(f"#card-{side} .ffn-card").bounding_box() for side in "ab"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


# --------------------------------------------------------------------------- what is not served


@pytest.mark.parametrize("secret", ["/etc/passwd", "{folder}/run/checkpoints/best.safetensors"])
@pytest.mark.parametrize(
    "way",
    [
        "/gradio_api/file={path}",
        "/file={path}",
        "/gradio_api/file=/{path}",
        "/gradio_api/file={uploads}/../../../../../../../../../../..{path}",
        "/gradio_api/file={uploads}/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..{path}",
        "/gradio_api/file=file://{path}",
        "/static/../../../../../../../../../../../..{path}",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..{path}",
    ],
)
def test_files_outside_the_uploads_are_not_served(server, way, secret):
    path = secret.format(folder=server.notes.parent)
    (uploads,) = server.temporary.glob("slowfast-demo-*")
    status, body = server.get(way.format(path=path, uploads=uploads))
    assert status in (403, 404)
    assert Path(path).read_bytes()[:20] not in body


def test_a_visitor_cannot_name_a_file_of_the_server_as_the_video(server):
    for i, path in enumerate(("/etc/passwd", str(server.video), "../grey clip.mp4")):
        answer = server.compare(path, f"visitor{i}")
        assert '"success":false' in answer.replace(" ", "")
        assert "root:" not in answer and "ffn-strip" not in answer


def test_the_server_fetches_no_address_for_a_visitor(server):
    for i, path in enumerate(("https://example.org/a.mp4", "http://127.0.0.1:1/a.mp4")):
        assert '"success":false' in server.compare(path, f"fetch{i}").replace(" ", "")
        assert server.get(f"/gradio_api/file={path}")[0] == 403
        assert server.get(f"/gradio_api/proxy={path}")[0] == 403
    assert not server.notes.exists()


def test_the_functions_of_the_page_are_no_public_interface(server):
    assert json.loads(server.get("/gradio_api/info")[1])["named_endpoints"] == {}
