"""Only this machine, only the page itself, only with the token, and no way to a file."""

import re
import signal
import socket
import stat
import subprocess
import urllib.request
from pathlib import Path

import pytest
from tests.review.conftest import HOST, TOKEN

from leaven.errors import RunError
from leaven.review.security import HEADERS, MOST_BODY
from leaven.review.server import listen, new_token

PATHS = ["", "app.js", "api/run", "api/items", "api/rounds/1/items/0/picture", "nothing"]


@pytest.fixture(scope="module")
def page(runs):
    from tests.review.conftest import Client

    return Client(runs["classes"])


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8470", "127.0.0.1.evil.example", "localhost.evil.example",
        "127.0.0.2:8470", "0.0.0.0:8470", "10.0.0.1", "[::2]:8470", "", "127.0.0.1:evil", "localhost@evil",
        "127.0.0.1 evil", "127.1", "2130706433",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", PATHS)
def test_other_hosts_are_refused(page, host, path):
    answer = page.raw.get(page.path(path), headers={"host": host})
    assert answer.status_code == 421 and "token" not in answer.text.lower()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:9", "localhost:8470", "LOCALHOST", "[::1]:1"]
)
def test_the_names_of_this_machine_are_served(page, host):
    assert page.raw.get(page.path("api/run"), headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "token", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "%00", "ü", "%ff", "..", TOKEN + "%00"]
)
@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_there_is_nothing(page, token, path):
    answer = page.raw.get(f"/{token}/{path}")
    assert answer.status_code == 403
    assert TOKEN not in answer.text and "Not Found" not in answer.text


def test_the_token_counts_in_the_path_alone(page):
    for place in ("/api/run", f"/api/run?token={TOKEN}", f"/?token={TOKEN}"):
        answer = page.raw.get(place, headers={"cookie": f"token={TOKEN}", "authorization": TOKEN})
        assert answer.status_code == 403
    assert page.raw.get(f"/{TOKEN}").status_code == 403  # Relative addresses would miss the token.


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:8470",
        "http://127.0.0.1:9999",
        "file://",
        "http://[",
    ],
)
def test_other_origins_are_refused(page, origin):
    for path in PATHS:
        answer = page.raw.get(page.path(path), headers={"origin": origin})
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
    body = {"action": "accept", "version": 0, "round": 1, "token": "from-elsewhere"}
    post = page.raw.post(page.path("api/items/3/say"), json=body, headers={"origin": origin})
    preflight = page.raw.options(
        page.path("api/items/3/say"),
        headers={"origin": origin, "access-control-request-method": "POST"},
    )
    assert post.status_code == preflight.status_code == 403
    assert not (page.run / "corrections.jsonl").exists()
    assert page.raw.get(page.path("api/run"), headers={"origin": HOST}).status_code == 200


def test_other_sites_may_open_the_page_and_nothing_else(page):
    def status(path, **headers):
        named = {f"sec-fetch-{name}": value for name, value in headers.items()}
        return page.raw.get(page.path(path), headers=named).status_code

    assert status("", site="cross-site", mode="navigate", dest="document") == 200
    assert status("", site="none", mode="navigate", dest="document") == 200
    assert status("", site="cross-site", mode="navigate", dest="iframe") == 403
    assert status("", site="cross-site", mode="no-cors", dest="script") == 403
    for site in ("cross-site", "same-site", "none"):
        assert status("api/run", site=site, mode="navigate", dest="document") == 403
        assert (
            status("api/rounds/1/items/0/picture", site=site, mode="no-cors", dest="image") == 403
        )
    assert status("api/run", site="same-origin", mode="cors", dest="empty") == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_form_of_another_site_is_no_request(page, kind):
    body = '{"action": "accept", "version": 0, "round": 1, "token": "from-a-form"}'
    answer = page.raw.post(
        page.path("api/items/3/say"), content=body, headers={"content-type": kind} if kind else {}
    )
    assert answer.status_code == 415 and not (page.run / "corrections.jsonl").exists()


def test_oversized_requests_are_refused_unread(page):
    path = page.path("api/items/3/say")
    large = page.raw.post(path, content=b" " * (MOST_BODY + 1), headers=page.kind)
    assert large.status_code == 413

    def parts():
        for _ in range(MOST_BODY // 65536 + 2):
            yield b" " * 65536

    assert page.raw.post(path, content=parts(), headers=page.kind).status_code == 413
    for length in ("-1", "x", "9" * 30):
        headers = {**page.kind, "content-length": length}
        assert page.raw.post(path, content=b"{}", headers=headers).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "../config.yaml", "..%2fconfig.yaml", "%2e%2e/%2e%2e/etc/passwd", "....//config.yaml",
        "//etc/passwd", "config.yaml", "page/app.js", "app.js/..", "app.js%00.png", "APP.JS",
        "api/rounds/1/items/..%2f..%2fconfig.yaml/picture", "api/rounds/1/items/0%2f../picture",
        "api/rounds/1/items/0x1/picture", "api/rounds/1/items/digits%2f0001/picture",
        "api/rounds/1/items/1.5/picture", "..\\config.yaml", "..%5cconfig.yaml", "%252e%252e%252fx",
    ],
)  # fmt: skip
def test_there_is_no_way_to_a_file(page, path):
    answer = page.raw.get(f"/{TOKEN}/{path}")
    assert answer.status_code in (403, 404, 405, 422)
    assert answer.headers["content-type"] == "application/json"
    assert "labels_per_class" not in answer.text and "root:" not in answer.text


def test_every_answer_is_closed_to_others(page):
    asked = [page.get(path) for path in PATHS]
    asked += [page.raw.get("/"), page.raw.get(page.path(""), headers={"host": "evil.example"})]
    for answer in asked:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "set-cookie" not in answer.headers and "server" not in answer.headers
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE"])
def test_other_methods_do_nothing(page, method):
    for path in ("api/items/3/say", "api/run", ""):
        answer = page.raw.request(method, page.path(path), headers=page.kind)
        assert answer.status_code in (404, 405)


def test_a_websocket_is_closed(page):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), page.raw.websocket_connect(page.path("")):
        pass


def test_tokens_are_long_and_new():
    assert len({new_token() for _ in range(50)}) == 50
    assert all(re.fullmatch(r"[\w-]{43,}", new_token()) for _ in range(50))


def test_only_this_machine_is_listened_to():
    with listen(None) as one, listen(0) as two:
        assert one.getsockname()[0] == two.getsockname()[0] == "127.0.0.1"
        one.listen()
        with pytest.raises(RunError, match="cannot be used"):
            listen(one.getsockname()[1])
        with listen(None) as other:  # The usual port is taken now, or was before.
            assert other.getsockname()[1] != one.getsockname()[1]


def test_the_command_tells_the_address_and_ends_by_ctrl_c(copied, server):
    run = copied("classes")
    with server(run, "--data", "digits") as served:
        with urllib.request.urlopen(served.address + "api/run") as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{served.port}/api/run")
        for name in socket.gethostbyname_ex(socket.gethostname())[2]:
            if not name.startswith("127."):
                with socket.socket() as tried, pytest.raises(OSError):
                    tried.settimeout(2)
                    tried.connect((name, served.port))
        for path in ("../../etc/passwd", "/..%2f..%2fetc/passwd", "./../config.yaml"):
            with socket.create_connection(("127.0.0.1", served.port)) as raw:
                token = served.address.split("/")[3]
                host = f"Host: 127.0.0.1:{served.port}\r\nConnection: close\r\n\r\n"
                raw.sendall(f"GET /{token}/{path} HTTP/1.1\r\n{host}".encode())
                first = raw.makefile("rb").readline()
                assert first.split()[1] in (b"403", b"404"), first
        served.process.send_signal(signal.SIGINT)
        out, err = served.process.communicate(timeout=20)
    token = served.address.split("/")[3]
    assert served.process.returncode == 0
    assert "Stopped" in err and "Traceback" not in err
    assert token not in out + err  # It was told once, on the first line, and is in no log.


def test_the_browser_is_led_by_a_file_of_the_owner_alone(monkeypatch, tmp_path):
    import webbrowser

    from leaven.cli.review import _Browser

    opened = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with _Browser("http://127.0.0.1:1/secret/") as browser:
        browser.open()
        (path,) = tmp_path.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and "secret" in path.read_text()
    assert not path.exists() and all("secret" not in address for address in opened)


@pytest.mark.parametrize(
    ("what", "words"), [("nothing", "no run"), ("empty", "no run"), ("unlabelled", "no labels yet")]
)
def test_what_is_no_run_is_refused(tmp_path, what, words):
    run = tmp_path / what
    if what != "nothing":
        run.mkdir()
    if what == "unlabelled":
        (run / "config.yaml").write_text("data: digits\n")
    from typer.testing import CliRunner

    from leaven.cli.main import app

    result = CliRunner().invoke(app, ["review", str(run), "--no-open"])
    assert result.exit_code == 2 and words in result.stderr and "Do:" in result.stderr


def test_pictures_that_are_gone_are_told(copied, tmp_path):
    from tests.review.conftest import Client, named_run

    from leaven.data.files import PictureError

    run = named_run(tmp_path, ["a.png", "b.png", "c.png"], ["x", "y"])
    (tmp_path / "pictures" / "b.png").write_bytes(b"no picture")
    (tmp_path / "pictures" / "c.png").unlink()
    (tmp_path / "labels.csv").write_text("file,label\n")
    page = Client(run)
    assert page.json("api/run")["notes"] == ["1 picture is gone."]
    assert page.get("api/rounds/0/items/0/picture").status_code == 200
    for number in (1, 2):
        for name in ("picture", "thumbnail"):
            answer = page.get(f"api/rounds/0/items/{number}/{name}")
            assert (
                answer.status_code == 404 and "could not be read" in answer.json()["error"]["found"]
            )
    assert page.say(2, "skip")["item"]["status"] == "skipped"
    moved = tmp_path / "elsewhere"
    (tmp_path / "pictures").rename(moved)
    with pytest.raises(RunError, match="--data"):
        Client(run)
    assert Client(run, moved).get("api/rounds/0/items/0/picture").status_code == 200
    assert issubclass(PictureError, Exception)


def test_the_page_is_in_the_wheel():
    """Everything below the package goes into the wheel, and so the page, which is no Python."""
    root = Path(__file__).parents[2]
    assert 'packages = ["src/leaven"]' in (root / "pyproject.toml").read_text()
    ignored = subprocess.run(
        ["git", "check-ignore", *sorted((root / "src/leaven/review/page").iterdir())],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert ignored.stdout == ""
