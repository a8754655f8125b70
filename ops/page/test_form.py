"""The form says how things stand, whenever they change."""

import pytest
from conftest import EXAMPLES
from helpers import attached, generate
from playwright.sync_api import expect


class Store:
    """Lets uploads of the page through only when it is told to."""

    def __init__(self, page):
        self.held = []
        page.route("**/*", lambda route: self.hold(route) if route.request.method == "PUT" else route.fallback())

    def hold(self, route):
        self.held.append(route)

    def attach(self, page, slot, file):
        page.set_input_files(f"#slot-{slot}", EXAMPLES / file)
        expect(page.locator(".slot").nth(slot).locator("progress")).to_be_visible()
        # It is on its way by now.
        while not self.held:
            page.wait_for_timeout(20)

    def release(self):
        for route in self.held:
            route.continue_()


def test_an_upload_that_is_done_changes_the_whole_form(page):
    asked = []
    page.on("request", lambda request: asked.append(request.post_data_json) if "/v1/estimate" in request.url else None)
    keep = page.locator("#keep_size")
    expect(keep).to_be_disabled()
    attached(page, 0, "content_star.png")
    # Nothing else is touched.
    expect(keep).to_be_enabled()
    expect(page.locator(".check", has_text="Keep input size")).to_contain_text("As the content reference")
    expect(page.locator("#generate")).to_have_class("primary wide")
    expect(page.locator("#prompt")).to_have_attribute("placeholder", "Leave empty to keep the layout, or say where the subject is: “The man reads by a window”")
    while not (asked and asked[-1].get("content")):
        page.wait_for_timeout(50)
    keep.check()
    expect(page.locator("#width")).to_be_disabled()
    with page.expect_request(lambda request: request.url.endswith("/v1/jobs") and request.method == "POST") as sent:
        generate(page, "")
    assert sent.value.post_data_json["keep_size"] is True


def test_a_picture_that_is_lost_on_its_way_leaves_the_form_as_it_was(page):
    store = Store(page)
    store.attach(page, 0, "content_star.png")
    expect(page.locator("#generate")).to_have_class("primary wide busy")
    for route in store.held:
        route.fulfill(status=403)
    expect(page.locator("#slot-0-error")).to_contain_text("refused")
    expect(page.locator("#generate")).to_have_class("primary wide")
    expect(page.locator("#keep_size")).to_be_disabled()


def test_a_picture_that_is_moved_on_its_way_arrives_where_it_is_now(page):
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


def test_a_picture_that_is_removed_on_its_way_is_gone(page):
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
        (HELD, "Held up by a pause or the hours of bulk work · 3 ahead"),
        (UNKNOWN, ""),
        (BUSY, "About 3 min · 17 ahead"),
    ],
    ids=["held", "unknown", "busy"],
)
def test_an_estimate_says_only_what_is_known(page, answer, text):
    page.route("**/v1/estimate*", lambda route: route.fulfill(json=answer))
    with page.expect_response("**/v1/estimate*"):
        page.fill("#prompt", "a blue square")
    expect(page.locator("#estimate")).to_have_text(text)


def test_an_estimate_is_of_all_pictures_that_are_asked_for(page):
    asked = []

    def answer(route):
        asked.append(route.request.url.split("?")[1])
        route.fulfill(json={"position": 0, "wait_ms": 70_000, "run_ms": 10_000, "held": False})

    page.route("**/v1/estimate*", answer)
    page.get_by_role("radio", name="8", exact=True).click()
    expect(page.locator("#estimate")).to_have_text("About 80 s for all 8")
    assert asked[-1] == "jobs=8"


def test_a_late_answer_to_an_earlier_question_is_not_shown(page):
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
