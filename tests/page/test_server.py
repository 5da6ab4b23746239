"""The server of the page: who is let in, what is served, and what is refused."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests

from pose.cli import UserError
from pose.page.server import FILES, bind
from tests.page.sessions import FIRST, block, gate, make_session, served, until


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return make_session(tmp_path_factory.mktemp("page"), masks=True)


@pytest.fixture(scope="module")
def address(session):
    with served(session) as found:
        yield found


def host_of(address):
    return urlsplit(address).netloc


def do(address, action, given=None, **headers):
    headers = {"Origin": f"http://{host_of(address)}", **headers}
    return requests.post(f"{address}do/{action}", data=json.dumps(given or {}), headers=headers)


def test_the_page_and_its_files_are_served_with_a_strict_policy(address):
    for name, kind in FILES.values():
        name = "" if name == "page.html" else name
        answer = requests.get(address + name)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["", "the-toke/", "the-token-more/state", "other/page.js", "%00/", "the-tokén/state"])
def test_another_token_is_let_in_nowhere(address, path):
    answer = requests.get(f"http://{host_of(address)}/{path}")
    assert answer.status_code == 403
    assert answer.text == "This is not the address that the program printed in its terminal. Open that one."


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:80", "", "localhost.:80"])
def test_a_page_that_gave_its_own_name_to_this_machine_is_not_let_in(address, host):
    answer = requests.get(address + "state", headers={"Host": host})
    assert answer.status_code == 403 and answer.text == "This server answers to 127.0.0.1 and localhost alone."


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:1"])
def test_a_tunnel_may_end_at_another_port(address, host):
    assert requests.get(address + "state", headers={"Host": host}).status_code == 200
    sent = {"Host": host, "Origin": f"http://{host}"}
    assert requests.post(address + "do/undo", data="{}", headers=sent).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", None])
def test_other_pages_change_nothing(address, origin):
    answer = do(address, "absent", {"object": 1, "slice": 0, "absent": True}, Origin=origin)
    assert answer.status_code == 403 and answer.text == "This server answers to its own page alone."
    assert requests.get(address + "state").json()["prompts"] == []


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_other_pages_read_nothing(address, origin):
    assert requests.get(address + "state", headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize(
    "path", ["page.html", "session.py", "../session.py", "..%2fsession.py", "%2e%2e/%2e%2e/etc/passwd", "pixels/-1"]
)
def test_nothing_else_is_served(address, path):
    with socket.create_connection(urlsplit(address).netloc.split(":")) as raw:  # requests would tidy the path
        raw.sendall(f"GET /the-token/{path} HTTP/1.1\r\nHost: {host_of(address)}\r\nConnection: close\r\n\r\n".encode())
        assert b" 404 " in raw.makefile("rb").readline()


def test_slices_are_served_upright_with_their_masks(address, session):
    values = np.frombuffer(requests.get(address + "pixels/3").content, "<i2").reshape(30, 40)
    assert requests.get(address + "scan").json()["type"] == "int16"
    np.testing.assert_array_equal(values, session.case.volume.voxels[:, :, 3])  # these lie upright as they are
    truth = np.frombuffer(requests.get(address + "truth/3").content, "<u2").reshape(30, 40)
    np.testing.assert_array_equal(truth > 0, values == -800)
    do(address, "point", {"object": 1, "slice": 3, "row": 10, "column": 8, "inside": True})
    labels = np.frombuffer(requests.get(address + "labels/3").content, "<u2").reshape(30, 40)
    np.testing.assert_array_equal(labels, block(FIRST))
    assert do(address, "undo").json()["prompts"] == []
    assert requests.get(address + "pixels/7").status_code == 404


def test_a_scan_that_lies_otherwise_is_turned(tmp_path):
    session = make_session(tmp_path, "--no_swap_axes")
    with served(session) as address:
        scan = requests.get(address + "scan").json()
        assert (scan["rows"], scan["columns"]) == (40, 30)
        assert scan["turn"] == {"transpose": True, "flip_rows": False, "flip_columns": False}
        assert scan["edges"] == {"top": "A", "bottom": "P", "left": "R", "right": "L"}
        values = np.frombuffer(requests.get(address + "pixels/3").content, "<i2").reshape(30, 40)
        np.testing.assert_array_equal(values, session.case.volume.voxels[:, :, 3].T)


@pytest.mark.parametrize(
    "action, given, status, says",
    [
        ("nothing", {}, 404, "there is no such thing to do"),
        ("point", {}, 422, "object: a whole number is needed"),
        ("point", {"object": True, "slice": 1, "row": 1, "column": 1}, 422, "object: a whole number is needed"),
        ("point", {"object": 1, "slice": 1.5, "row": 1, "column": 1}, 422, "slice: a whole number is needed"),
        ("point", {"object": 1, "slice": 10**9, "row": 1, "column": 1}, 422, "slice: a whole number is needed"),
        (
            "point",
            {"object": 1, "slice": 3, "row": 1, "column": 1, "inside": "yes"},
            422,
            "inside: true or false is needed",
        ),
        (
            "point",
            {"object": 1, "slice": 7, "row": 1, "column": 1},
            422,
            "slice 7: no such slice, they count from 0 to 6",
        ),
        ("name", {"object": 1, "name": 5}, 422, "name: a text is needed"),
        ("name", {"object": 200, "name": ""}, 422, "object 200: objects on the page have the numbers 1 to 99"),
        ("carry", {}, 422, "case: nothing says where an object is; click into it, or drag a box round it"),
        ("undo", [1], 422, "a JSON object is needed"),
        ("name", {"object": 1, "name": "a" * 10_000}, 413, "that is too long"),
    ],
)
def test_what_makes_no_sense_is_refused(address, action, given, status, says):
    answer = do(address, action, given)
    assert (answer.status_code, answer.json()) == (status, {"error": says})
    assert requests.get(address + "state").json()["prompts"] == []


@pytest.mark.parametrize("body", ["{", "[" * 9000, "\xff"])
def test_what_is_no_json_is_refused(address, body):
    headers = {"Origin": f"http://{host_of(address)}"}
    answer = requests.post(address + "do/undo", data=body.encode("latin-1"), headers=headers)
    assert (answer.status_code, answer.json()) == (422, {"error": "a JSON object is needed"})


def test_busy_is_said_and_progress_is_told(tmp_path):
    session = make_session(tmp_path)
    gated = gate(session)
    with served(session) as address:
        do(address, "point", {"object": 1, "slice": 3, "row": 10, "column": 8, "inside": True})
        assert do(address, "carry").json()["task"] == {"kind": "carry", "done": [], "slices": 7, "cancelled": False}
        assert do(address, "clear", {"object": 1, "slice": 3}).status_code == 409
        gated.let(2)
        until(lambda: requests.get(address + "state").json()["task"]["done"] == [0, 1])
        do(address, "cancel")
        gated.let(1)
        until(lambda: requests.get(address + "state").json()["task"] is None)
        assert requests.get(address + "contact_sheet.png").status_code == 404
        gated.let(7)
        do(address, "save")
        until(lambda: requests.get(address + "state").json()["saved"] is not None)
        sheet = requests.get(address + "contact_sheet.png")
        assert sheet.content.startswith(b"\x89PNG") and sheet.headers["content-type"] == "image/png"


def test_a_second_scan_has_an_address_of_its_own(address, tmp_path):
    with served(make_session(tmp_path, "--no_swap_axes"), "other-token") as other:
        assert requests.get(other + "scan").json()["rows"] == 40
        assert requests.get(address + "scan").json()["rows"] == 30
        assert requests.get(f"http://{host_of(other)}/the-token/state").status_code == 403
        assert requests.get(f"http://{host_of(address)}/other-token/state").status_code == 403


def test_it_listens_to_this_machine_alone():
    with bind(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        port = listening.getsockname()[1]
        with pytest.raises(UserError, match=f"^--port {port}: Address already in use; leave it out for a free one$"):
            bind(port)
    with pytest.raises(UserError, match="^--port 70000: there are 65535; "):
        bind(70000)
