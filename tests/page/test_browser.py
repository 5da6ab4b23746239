"""The page in a browser, as a person uses it: clicks, boxes, keys, carrying, saving, and what goes wrong."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic, sleep

import numpy as np
import pytest

from pose.prompts.prompt import Prompt
from tests.page.sessions import FIRST, SECOND, block, gate, make_session, served, until

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

# where things lie on the screen, told from the frame alone: 40 pixels of 1.5 mm across, 30 of 2 mm down, upright
BLOCK, NOWHERE = (10, 8), (2, 18)


OUTSIDE_THE_PANEL = """() => {
  const panel = document.querySelector("aside").getBoundingClientRect();
  return [...document.querySelectorAll("aside button, aside input, aside select, aside label")].filter((one) => {
    const at = one.getBoundingClientRect();
    return at.width && (at.left < panel.left || at.right > panel.right - 8);
  }).map((one) => one.id || one.outerHTML);
}"""
NAMELESS = """() => {
  const labelled = (one) => one.labels && [...one.labels].some((label) => label.textContent.trim());
  const told = (one) => one.getAttribute("aria-label") || one.getAttribute("aria-hidden") || one.alt;
  return [...document.querySelectorAll("button, input, select, canvas, img")].filter((one) =>
    !told(one) && !one.textContent.trim() && !labelled(one)).map((one) => one.outerHTML);
}"""


ALL_IS_THERE = (
    "Boolean(state) && [pixels, labels].every((one) => one.get(slice) && !(one.get(slice) instanceof Promise))"
)


@pytest.fixture
def open_page(chromium):
    """Open an address; at the end, no page may have complained."""
    contexts, complaints = [], []

    def open_at(address, width=1280, height=800, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(address)
        until(lambda: page.evaluate(ALL_IS_THERE))
        return page

    yield open_at
    for context in contexts:
        context.close()
    # a server that has ended before its page was closed
    assert [one for one in complaints if "net::ERR_" not in one] == []


@pytest.fixture
def session(tmp_path):
    return make_session(tmp_path, masks=True)


@pytest.fixture
def address(session):
    with served(session) as found:
        yield found


def comes(get, expected):
    """Wait for ``expected``: what a page shows may come after what it was asked for."""
    end = monotonic() + 60
    while (found := get()) != expected and monotonic() < end:
        sleep(0.01)
    assert found == expected


def words_of(page, name):
    return page.locator(name).inner_text()


def on_screen(page, row, column):
    """Return where a pixel lies whose slices fill the frame, upright, as large as they can be."""
    frame = page.locator("#canvas").bounding_box()
    scale = min(frame["width"] / (40 * 1.5), frame["height"] / (30 * 2.0))
    across, down = (column + 0.5 - 20) * 1.5 * scale, (row + 0.5 - 15) * 2.0 * scale
    return frame["x"] + frame["width"] / 2 + across, frame["y"] + frame["height"] / 2 + down


@contextmanager
def answered(page, action):
    """Wait until the page has taken in the answer to what is done inside."""
    with page.expect_response(f"**/do/{action}") as answer:
        yield answer
    page.evaluate("pending")  # a promise: kept when all that was asked for is done


def click(page, place, action="point", **how):
    with answered(page, action) as answer:
        page.mouse.click(*on_screen(page, *place), **how)
    return answer.value.json()


def drag(page, start, end, **how):
    page.mouse.move(*on_screen(page, *start))
    page.mouse.down(**how)
    page.mouse.move(*on_screen(page, *end), steps=4)
    page.mouse.up(**how)


def press(page, button, action):
    with answered(page, action) as answer:
        page.get_by_role("button", name=button).click()
    return answer.value.json()


def colour(page, row, column):
    x, y = on_screen(page, row, column)
    frame = page.locator("#canvas").bounding_box()
    at = [x - frame["x"], y - frame["y"]]
    return page.evaluate("([x, y]) => [...$('canvas').getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)", at)


def on_slice(page, index):
    comes(lambda: page.evaluate("slice"), index)
    until(lambda: words_of(page, "#readout").startswith(f"slice {index} of 0 to 6"))


@pytest.mark.parametrize("flag, place", [("--swap_axes", (10, 8)), ("--no_swap_axes", (8, 10))])
def test_a_click_gives_the_mask_where_it_is_seen(tmp_path, open_page, flag, place):
    session = make_session(tmp_path, flag)
    with served(session) as address:
        page = open_page(address)
        on_slice(page, 3)
        comes(lambda: [colour(page, *BLOCK), colour(page, *NOWHERE)], [[0, 0, 0], [255, 255, 255]])
        answer = click(page, BLOCK)
        assert answer["prompts"][0]["points"] == [[*place, 1]] and answer["seconds"] > 0
        until(lambda: colour(page, 15, 10) != [0, 0, 0])
        red, green, blue = colour(page, 15, 10)  # the sky blue of the first object, over black
        assert red < green < blue
        assert colour(page, *NOWHERE) == [255, 255, 255]


def test_no_button_can_be_pressed_before_the_page_knows_its_state(session, address, chromium):
    session.point(1, 3, 10, 8, True)
    page, held, let = chromium.new_page(), [], []
    page.route("**/state", lambda route: route.continue_() if let else held.append(route))
    page.goto(address)
    until(lambda: page.evaluate("true") and held)
    names = ["Carry", "Save", "Clear slice", "Not here", "Add an object", "Undo"]
    assert [page.get_by_role("button", name=name).is_disabled() for name in names] == [True] * 6
    let.append(True)
    held[0].continue_()
    for name in names:
        until(page.get_by_role("button", name=name).is_enabled)
    page.close()


def test_boxes_and_points_by_every_button(session, address, open_page):
    page = open_page(address)
    with answered(page, "box"):
        drag(page, (5, 3), (20, 14))
    assert session.clicks.prompts == [Prompt(3, 1, box=(5, 3, 20, 14))]
    page.keyboard.down("Shift")
    with answered(page, "box"):
        drag(page, (25, 37), (7, 20))  # from the other end
    page.keyboard.up("Shift")
    assert session.clicks.prompts[1] == Prompt(3, 1, box=(7, 20, 25, 37))
    np.testing.assert_array_equal(session.labels(3), block(FIRST) + block(SECOND))
    click(page, (10, 8), button="right")
    assert session.clicks.prompts[0].negative_points == ((10, 8),)
    page.get_by_label("Not this").check()
    click(page, (12, 8))
    assert session.clicks.prompts[0].negative_points == ((10, 8), (12, 8))
    press(page, "Undo", "undo")
    press(page, "Clear slice", "clear")
    assert session.clicks.prompts == []
    page.get_by_label("Box").check()
    page.mouse.click(*on_screen(page, 10, 8))
    comes(lambda: words_of(page, "#message"), "drag from one corner of the box to the other")
    assert session.clicks.prompts == []


def test_carry_shows_slices_as_they_come_and_can_be_cancelled(session, address, open_page):
    page = open_page(address)
    until(page.get_by_role("button", name="Carry").is_disabled)
    click(page, BLOCK)
    gated = gate(session)
    press(page, "Carry", "carry")
    gated.let(3)
    on_slice(page, 2)
    comes(lambda: words_of(page, "#progress-words"), "carrying: 3 of 7 slices")
    until(lambda: colour(page, 15, 10) != [0, 0, 0])
    until(page.get_by_role("button", name="Save").is_disabled)
    press(page, "Cancel", "cancel")
    gated.let(1)
    comes(lambda: words_of(page, "#message"), "cancelled: the masks are those of before")
    on_slice(page, 3)
    assert session.carried is None
    gated.let(7)
    press(page, "Carry", "carry")
    until(lambda: words_of(page, "#message").startswith("carried through 7 slices in "))
    until(page.get_by_role("button", name="Carry again").is_disabled)
    # what the model doubts is marked, and a button leads there
    comes(lambda: page.evaluate("state.review"), [2, 3, 4, 5])
    page.get_by_role("button", name="Next to review (4)").click()
    on_slice(page, 4)
    slider = page.get_by_role("slider", name="Slice")
    comes(lambda: slider.get_attribute("aria-valuetext"), "slice 4 of 0 to 6, to review")


def test_a_task_that_ends_before_the_page_hears_of_it_is_told(session, address, open_page):
    page = open_page(address)
    click(page, BLOCK)
    begin = session.carry

    def carry_to_the_end():
        begin()
        session.wait()

    session.carry = carry_to_the_end
    assert press(page, "Carry", "carry")["task"] is None
    until(lambda: words_of(page, "#message").startswith("carried through 7 slices in "))


def test_what_was_said_of_the_end_stays_though_the_answer_to_the_button_comes_later(session, address, open_page):
    page = open_page(address)
    click(page, BLOCK)
    held = []
    page.route("**/do/carry", lambda route: held.append((route, route.fetch())))
    page.get_by_role("button", name="Carry").click()
    until(lambda: page.evaluate("true") and held)
    session.wait()
    page.evaluate("refresh()")
    until(lambda: words_of(page, "#message").startswith("carried through"))
    route, answer = held[0]
    route.fulfill(response=answer)
    page.evaluate("pending")
    assert words_of(page, "#message").startswith("carried through")


def test_an_answer_that_was_overtaken_changes_nothing(session, address, open_page):
    page = open_page(address)
    old = page.evaluate("JSON.parse(JSON.stringify(state))")
    click(page, BLOCK)
    page.evaluate("(old) => take(old)", old)
    assert page.evaluate("state.prompts.length") == 1


def test_correct_carry_again_and_save(session, address, open_page, tmp_path):
    page = open_page(address)
    click(page, BLOCK)
    press(page, "Carry", "carry")
    until(lambda: words_of(page, "#message").startswith("carried through"))
    page.keyboard.press("ArrowUp")
    on_slice(page, 4)
    assert press(page, "Not here", "absent")["prompts"][1]["absent"]
    comes(lambda: page.get_by_role("button", name="Not here").get_attribute("aria-pressed"), "true")
    until(lambda: colour(page, 15, 10) == [0, 0, 0])
    press(page, "Carry again", "carry")
    until(lambda: session.is_carried)
    comes(lambda: words_of(page, "#dice"), "Dice: this slice 0.000, volume 0.323")  # 560 of 1736 pixels
    press(page, "Save", "save")
    until(lambda: page.locator("#saved").is_visible())
    comes(lambda: words_of(page, "#command"), session.saved["command"])
    comes(lambda: words_of(page, "#folder"), str(tmp_path / "results" / "case"))
    until(lambda: words_of(page, "#found").startswith("object 1: 280 voxels, 2.5 ml, slices 2 to 3"))
    until(lambda: page.evaluate("$('sheet').naturalWidth") > 100)


def test_what_was_done_is_there_after_a_reload(session, address, open_page):
    page = open_page(address)
    click(page, BLOCK)
    press(page, "Add an object", "name")
    page.get_by_label("Name of object 2").fill("right block")
    with answered(page, "name"):
        page.keyboard.press("Tab")
    with answered(page, "box"):
        drag(page, (7, 20), (25, 37))
    page.reload()
    until(lambda: page.evaluate(ALL_IS_THERE))
    comes(page.get_by_label("Name of object 2").input_value, "right block")
    comes(lambda: page.evaluate("state.prompts.length"), 2)
    found = np.array(page.evaluate("[...labels.get(slice)]")).reshape(30, 40)
    np.testing.assert_array_equal(found, block(FIRST) + block(SECOND, 2))
    page.get_by_role("button", name="Remove object 2").click()
    until(lambda: session.names == {1: ""})


def test_an_address_with_another_token_says_so(session, address, chromium):
    page = chromium.new_page()
    assert page.goto(address.replace("the-token", "guessed")).status == 403
    assert page.inner_text("body") == "This is not the address that the program printed in its terminal. Open that one."
    page.close()


def test_two_scans_at_a_time_do_not_meet(session, address, open_page, tmp_path):
    other_session = make_session(tmp_path / "other")
    with served(other_session, "other-token") as other:
        page, other_page = open_page(address), open_page(other)
        click(page, BLOCK)
        click(other_page, (12, 26))
        assert session.clicks.prompts == [Prompt(3, 1, ((10, 8),))]
        assert other_session.clicks.prompts == [Prompt(3, 1, ((12, 26),))]
        until(page.locator("#dice").is_visible)
        assert other_page.locator("#dice").is_hidden()


def test_the_page_says_when_the_program_has_ended(session, open_page):
    with served(session) as address:
        page = open_page(address)
        click(page, BLOCK)
        gated = gate(session)
        press(page, "Carry", "carry")
        gated.let(2)
        until(lambda: page.evaluate("state.task && state.task.done.length") == 2)
        session.cancel()
        gated.let(1)
    until(lambda: words_of(page, "#lost").startswith("The program has ended, or the tunnel to it."))
    for name in ("Save", "Undo", "Clear slice", "Not here", "Add an object"):
        until(page.get_by_role("button", name=name).is_disabled)


def test_scrolling_windows_and_zoom(session, address, open_page):
    page = open_page(address)
    page.mouse.move(*on_screen(page, 10, 8))
    page.mouse.wheel(0, 40)  # towards the feet
    on_slice(page, 2)
    page.mouse.wheel(0, -40)
    on_slice(page, 3)
    page.mouse.wheel(0, -40)
    on_slice(page, 4)
    until(lambda: "row 10, column 8: -800" in words_of(page, "#readout"))
    page.get_by_label("Window by name").select_option("bone")
    comes(lambda: page.evaluate("[shown.level, shown.width]"), [400, 1800])
    comes(lambda: colour(page, *NOWHERE), [77, 77, 77])  # 40 HU, from -500 to 1300
    drag(page, (10, 8), (10, 20), button="right")
    until(lambda: page.evaluate("shown.level === 400 && shown.width > 1800"))
    comes(page.get_by_label("Window by name").input_value, "")
    page.get_by_label("Level").fill("40")
    page.get_by_label("Width").fill("400")
    page.keyboard.press("Tab")
    comes(lambda: page.evaluate("[shown.level, shown.width]"), [40, 400])
    page.get_by_role("button", name="Zoom in").click()
    comes(lambda: page.evaluate("zoom"), 1.25)
    page.get_by_role("button", name="Fit").click()
    comes(lambda: page.evaluate("[zoom, moved.x, moved.y]"), [1, 0, 0])
    # what lies under the mouse stays there
    page.mouse.move(*on_screen(page, 10, 8))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    until(lambda: page.evaluate("zoom") > 1.5)
    until(lambda: "row 10, column 8" in words_of(page, "#readout"))
    assert session.clicks.prompts == []


def test_the_value_under_the_mouse_comes_with_the_slice(session, address, open_page):
    page = open_page(address)
    page.evaluate("clearTimeout(timer); refresh = () => {}")  # what is asked for now and then would bring it too
    held = []
    page.route("**/pixels/6", lambda route: held.append(route))
    page.mouse.move(*on_screen(page, 10, 8))
    page.keyboard.press("End")
    on_slice(page, 6)
    until(lambda: held)
    assert words_of(page, "#readout") == "slice 6 of 0 to 6"
    held[0].continue_()
    until(lambda: "row 10, column 8: " in words_of(page, "#readout"))


def test_all_of_it_by_keys(session, address, open_page):
    page = open_page(address)
    page.locator("#canvas").focus()
    for key, index in (("End", 6), ("Home", 0), ("PageUp", 5), ("ArrowDown", 4), ("ArrowDown", 3)):
        page.keyboard.press(key)
        on_slice(page, index)
    # from the middle, row 15 and column 20, to row 10 and column 8
    for key, times in (("ArrowUp", 5), ("Control+Shift+ArrowLeft", 1), ("ArrowLeft", 2)):
        for _ in range(times):
            page.keyboard.press(key if "+" in key else f"Shift+{key}")
    comes(lambda: words_of(page, "#message"), "cross at row 10, column 8")
    with answered(page, "point"):
        page.keyboard.press("Enter")
    assert session.clicks.prompts == [Prompt(3, 1, ((10, 8),))]
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowDown")
    with answered(page, "box"):
        page.keyboard.press("Enter")
    assert session.clicks.prompts == [Prompt(3, 1, ((10, 8),), box=(10, 8, 11, 8))]
    with answered(page, "undo"):
        page.keyboard.press("Control+z")
    page.keyboard.press("c")
    until(lambda: words_of(page, "#message").startswith("carried through"))
    with answered(page, "absent"):
        page.keyboard.press("a")
    with answered(page, "clear"):
        page.keyboard.press("Delete")
    assert session.clicks.prompts == []
    page.keyboard.press("m")
    comes(page.locator("#masks").is_checked, False)
    page.keyboard.press("t")
    comes(page.locator("#truth").is_checked, False)


def test_a_key_waits_for_the_click_before_it(session, address, open_page):
    page = open_page(address)
    click(page, BLOCK)
    press(page, "Carry", "carry")
    until(lambda: words_of(page, "#message").startswith("carried through"))
    with answered(page, "carry"):
        page.mouse.click(*on_screen(page, 12, 26))
        page.keyboard.press("c")  # the mask of the click is not there yet
    until(lambda: session.is_carried)
    assert session.carried.clicked == [Prompt(3, 1, ((10, 8), (12, 26)))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width, height", [(1280, 800), (800, 600), (560, 700)])
def test_it_fits_and_every_control_has_a_name(session, address, open_page, width, height, scheme):
    page = open_page(address, width, height, scheme)
    wide, shown = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= shown == width
    frame = page.locator("#canvas").bounding_box()
    assert frame["width"] >= width / 2 and frame["height"] >= height / 2
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dark == (scheme == "dark")
    assert page.evaluate(OUTSIDE_THE_PANEL) == []
    assert page.evaluate(NAMELESS) == []


@pytest.mark.parametrize("width, height", [(1280, 800), (800, 600)])
def test_what_is_going_on_is_in_sight(session, address, open_page, width, height):
    page = open_page(address, width, height)
    click(page, BLOCK)
    gated = gate(session)
    press(page, "Carry", "carry")
    gated.let(3)
    comes(lambda: words_of(page, "#progress-words"), "carrying: 3 of 7 slices")
    for name in ("#cancel", "#progress"):
        box = page.locator(name).bounding_box()
        assert box["y"] > 0 and box["y"] + box["height"] < height, name
    gated.let(4)
    until(lambda: words_of(page, "#message").startswith("carried through 7 slices in "))
    for name in ("#carry", "#review", "#message"):
        box = page.locator(name).bounding_box()
        assert box["y"] > 0 and box["y"] + box["height"] < height, name
