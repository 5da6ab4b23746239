"""Where things lie on the page, at every size of its window: no card covers another, every control is reached."""

from __future__ import annotations

import pytest

from tests.page.sessions import gate, make_session, served, until

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

SIZES = [(1280, 640), (1280, 800), (1000, 640), (800, 600), (560, 700), (1280, 360), (800, 300), (560, 300)]
# what is seen of the cards: what scrolls is cut off by what it scrolls in
COVERED_CARDS = """() => {
  const seen = (card) => {
    let { left, top, right, bottom } = card.getBoundingClientRect();
    for (let one = card.parentElement; one; one = one.parentElement) {
      if (getComputedStyle(one).overflowY === "visible") continue;
      const frame = one.getBoundingClientRect();
      [left, top] = [Math.max(left, frame.left), Math.max(top, frame.top)];
      [right, bottom] = [Math.min(right, frame.right), Math.min(bottom, frame.bottom)];
    }
    return { name: card.id || card.getAttribute("aria-labelledby"), left, top, right, bottom };
  };
  const cards = [...document.querySelectorAll("#view, aside section, aside details")].map(seen)
    .filter((one) => one.right > one.left && one.bottom > one.top);
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return cards.flatMap((a, rank) => cards.slice(rank + 1).filter((b) => meet(a, b)).map((b) => [a.name, b.name]));
}"""
# controls on which no click can fall, though they were scrolled to
UNREACHED = """() => [...document.querySelectorAll("aside button, aside input, aside select, aside summary, aside pre")]
  .filter((one) => one.checkVisibility()).filter((one) => {
    one.scrollIntoView({ block: "center" });
    const at = one.getBoundingClientRect();
    const hit = document.elementFromPoint((at.left + at.right) / 2, (at.top + at.bottom) / 2);
    return !one.contains(hit);
  }).map((one) => one.id || one.outerHTML)"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page on which all cards are full: two objects, carried, doubted, saved, with ground truth."""
    session = make_session(tmp_path_factory.mktemp("layout"), masks=True)
    session.name_object(2, "right block")
    session.point(1, 3, 10, 8, True)
    session.box(2, 4, (7, 20, 25, 37))
    gate(session).let(7)
    session.save()
    session.wait()
    assert session.saved is not None and session.carried.found.to_review == [2, 3, 4, 5]
    with served(session) as found:
        yield found


@pytest.mark.parametrize("width, height", SIZES)
def test_no_card_covers_another_and_every_control_is_reached(chromium, address, width, height):
    context = chromium.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.goto(address)
    until(lambda: page.evaluate("Boolean(state && state.saved) && $('sheet').naturalWidth > 100"))
    assert page.evaluate(COVERED_CARDS) == []
    # as it is while a volume is carried
    page.evaluate("clearTimeout(timer); for (const id of ['cancel', 'progress-label']) $(id).hidden = false")
    page.evaluate("say('a word that is as long as most, and a line or two of it here. '.repeat(3))")
    page.locator("#keys summary").click()
    assert page.evaluate(COVERED_CARDS) == []
    assert page.evaluate(UNREACHED) == []
    assert page.evaluate(COVERED_CARDS) == []  # scrolled to the end
    context.close()


@pytest.mark.parametrize("width, height", [(1280, 640), (800, 600), (560, 700)])
def test_what_was_saved_comes_into_sight(chromium, tmp_path, width, height):
    session = make_session(tmp_path)
    session.point(1, 3, 10, 8, True)
    with served(session) as address:
        context = chromium.new_context(viewport={"width": width, "height": height})
        page = context.new_page()
        page.goto(address)
        page.get_by_role("button", name="Save").click()
        until(lambda: page.locator("#message").inner_text() == "saved")
        playwright.expect(page.locator("#title-saved")).to_be_in_viewport()
        # an answer in between may have brought the picture already, and with it a card that is taller than its frame
        until(lambda: page.evaluate("$('sheet').naturalWidth > 100"))
        page.evaluate("$('cards').scrollTop = 0; clearTimeout(timer); state.ended.pop(); state.changes -= 1")
        page.evaluate("refresh()")
        playwright.expect(page.locator("#title-saved")).to_be_in_viewport()
        context.close()
