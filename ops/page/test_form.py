"""The form shows every change of its references and of the estimate."""

import pytest
from conftest import EXAMPLES
from helpers import attached, generate
from playwright.sync_api import expect


class Store:
    """Holds uploads of the page until `release`."""

    def __init__(self, page):
        self.held = []
        page.route("**/*", lambda route: self.hold(route) if route.request.method == "PUT" else route.fallback())

    def hold(self, route):
        self.held.append(route)

    def attach(self, page, slot, file):
        page.set_input_files(f"#slot-{slot}", EXAMPLES / file)
        expect(page.locator(".slot").nth(slot).locator("progress")).to_be_visible()
        while not self.held:
            page.wait_for_timeout(20)

    def release(self):
        for route in self.held:
            route.continue_()


def test_a_finished_upload_changes_the_whole_form(page):
    asked = []
    page.on("request", lambda request: asked.append(request.post_data_json) if "/v1/estimate" in request.url else None)
    keep = page.locator("#keep_size")
    expect(keep).to_be_disabled()
    attached(page, 0, "content_star.png")
    # Without another event, the rest of the form has changed, too.
    expect(keep).to_be_enabled()
    expect(page.locator(".check", has_text="Keep input size")).to_contain_text("Same as the content reference")
    expect(page.locator("#generate")).to_have_class("primary wide")
    expect(page.locator("#prompt")).to_have_attribute("placeholder", "Leave empty to keep the layout, or describe the scene: “The man reads by a window”")
    while not (asked and asked[-1].get("content")):
        page.wait_for_timeout(50)
    keep.check()
    expect(page.locator("#width")).to_be_disabled()
    with page.expect_request(lambda request: request.url.endswith("/v1/jobs") and request.method == "POST") as sent:
        generate(page, "")
    assert sent.value.post_data_json["keep_size"] is True


def test_a_failed_upload_leaves_the_form_as_it_was(page):
    store = Store(page)
    store.attach(page, 0, "content_star.png")
    expect(page.locator("#generate")).to_have_class("primary wide busy")
    for route in store.held:
        route.fulfill(status=403)
    expect(page.locator("#slot-0-error")).to_contain_text("refused")
    expect(page.locator("#generate")).to_have_class("primary wide")
    expect(page.locator("#keep_size")).to_be_disabled()


def test_an_upload_continues_in_the_slot_to_which_its_picture_is_moved(page):
    store = Store(page)
    store.attach(page, 0, "content_star.png")
    page.get_by_role("button", name="Swap content reference with style").click()
    expect(page.locator(".slot").nth(1).locator("progress")).to_be_visible()
    store.release()
    expect(page.locator(".slot").nth(1).locator("progress")).to_have_count(0)
    expect(page.locator("#generate")).to_have_class("primary wide")
    expect(page.locator("#keep_size")).to_be_disabled()
    with page.expect_request(lambda request: request.url.endswith("/v1/jobs") and request.method == "POST") as sent:
        generate(page, "a blue square")
    body = sent.value.post_data_json
    assert "content" not in body and len(body["styles"]) == 1


def test_removing_a_picture_cancels_its_upload(page):
    store = Store(page)
    store.attach(page, 0, "content_star.png")
    page.get_by_role("button", name="Remove content reference").click()
    expect(page.locator("#generate")).to_have_class("primary wide")
    expect(page.locator(".slot.filled")).to_have_count(0)


HELD = {"position": 3, "wait_ms": None, "run_ms": 588, "held": True}
UNKNOWN = {"position": 0, "wait_ms": None, "run_ms": None, "held": False}
BUSY = {"position": 17, "wait_ms": 175_000, "run_ms": 10_000, "held": False}


@pytest.mark.parametrize(
    "answer, text",
    [
        (HELD, "On hold: paused or outside the bulk hours · 3 ahead"),
        (UNKNOWN, ""),
        (BUSY, "About 3 min · 17 ahead"),
    ],
    ids=["held", "unknown", "busy"],
)
def test_an_estimate_shows_only_what_is_known(page, answer, text):
    page.route("**/v1/estimate*", lambda route: route.fulfill(json=answer))
    with page.expect_response("**/v1/estimate*"):
        page.fill("#prompt", "a blue square")
    expect(page.locator("#estimate")).to_have_text(text)


def test_an_estimate_covers_all_pictures(page):
    asked = []

    def answer(route):
        asked.append(route.request.url.split("?")[1])
        route.fulfill(json={"position": 0, "wait_ms": 70_000, "run_ms": 10_000, "held": False})

    page.route("**/v1/estimate*", answer)
    page.get_by_role("radio", name="8", exact=True).click()
    expect(page.locator("#estimate")).to_have_text("About 80 s for all 8")
    assert asked[-1] == "jobs=8"


def test_a_late_answer_to_an_earlier_request_is_not_shown(page):
    held = []

    def answer(route):
        if held:
            route.fulfill(json={"position": 0, "wait_ms": 0, "run_ms": 20_000, "held": False})
        else:
            held.append(route)

    page.route("**/v1/estimate*", answer)
    with page.expect_request("**/v1/estimate*"):
        page.fill("#prompt", "a blue square")
    page.fill("#prompt", "a red square")
    expect(page.locator("#estimate")).to_have_text("About 20 s")
    with page.expect_response("**/v1/estimate*"):
        held[0].fulfill(json={"position": 0, "wait_ms": 0, "run_ms": 70_000, "held": False})
    page.evaluate("new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)))")
    expect(page.locator("#estimate")).to_have_text("About 20 s")
