"""The viewer of a job, and the way from one job to the next."""

import json
import re
import urllib.request

from conftest import BASE
from helpers import slow
from playwright.sync_api import expect

# More than one page of the gallery.
PICTURES = 33


def submit(**job):
    request = urllib.request.Request(
        f"{BASE}/v1/jobs", json.dumps(job).encode(), {"content-type": "application/json", "prefer": "wait=60"}
    )
    return json.load(urllib.request.urlopen(request))


def test_arrows_go_through_the_whole_gallery_and_back(opened):
    for nth in range(PICTURES):
        assert submit(prompt=f"a blue square, number {nth}", steps=1)["state"] == "succeeded"
    # So low that the gallery does not load all pages at once.
    page = opened("/#gallery", viewport={"width": 900, "height": 400})
    first = page.locator(".tile-picture").first
    first.click()
    viewer = page.locator("#viewer")
    title = viewer.get_by_role("heading", level=2)
    for nth in reversed(range(PICTURES)):
        expect(title).to_have_text(f"a blue square, number {nth}")
        inside = page.evaluate("document.querySelector('#viewer').contains(document.activeElement)")
        assert inside, "the focus left the viewer"
        if nth > 0:
            page.keyboard.press("ArrowRight")
    # Faster than the jobs can be read.
    for nth in range(PICTURES - 1):
        page.keyboard.press("ArrowLeft")
    expect(title).to_have_text(f"a blue square, number {PICTURES - 1}")


def test_the_arrows_end_where_the_jobs_do(page):
    only = page.request.get(f"{BASE}/v1/jobs/{submit(prompt='the only one of its kind', steps=1)['id']}").json()
    held = []

    def answer(route):
        if "cursor" in route.request.url:
            held.append(route)
        else:
            route.fulfill(json={"jobs": [only], "next": "more"})

    page.route("**/v1/jobs?*", answer)
    page.get_by_role("link", name="Gallery").click()
    page.locator(".tile-picture").click()
    older = page.get_by_role("button", name="Older picture")
    # The button exists, because there may be another job.
    older.focus()
    page.keyboard.press("ArrowRight")
    held.pop().fulfill(json={"jobs": [], "next": None})
    expect(older).to_have_count(0)
    expect(page.locator("#viewer").get_by_role("heading", level=2)).to_have_text("the only one of its kind")
    expect(page.locator("#viewer")).to_be_focused()


def test_the_pressed_button_keeps_the_focus(opened):
    for nth in range(3):
        submit(prompt=f"a red heart, number {nth}", steps=1)
    page = opened("/#gallery")
    page.locator(".tile-picture").first.click()
    older = page.get_by_role("button", name="Older picture")
    title = page.locator("#viewer").get_by_role("heading", level=2)
    for nth in (2, 1, 0):
        expect(title).to_have_text(f"a red heart, number {nth}")
        older.focus()
        page.keyboard.press("Enter")
        expect(older).to_be_focused()


def test_the_viewer_follows_a_running_job(page):
    card = slow(page)
    expect(card).to_have_attribute("data-state", "running")
    page.evaluate("(id) => { location.hash = `job/${id}`; }", card.get_attribute("data-id"))
    viewer = page.locator("#viewer")
    status = viewer.locator(".viewer-status")
    expect(status).to_have_text(re.compile(r"Step \d+ of \d+"))
    expect(status).not_to_have_text(status.inner_text())
    preview = viewer.locator("img.preview")
    expect(preview).to_be_visible()
    expect(preview).not_to_have_attribute("src", preview.get_attribute("src"))
    viewer.get_by_role("button", name="Cancel").click()
    expect(status).to_have_text("Canceled")
    expect(preview).to_have_count(0)


def test_the_viewer_follows_a_running_job_of_another_browser(opened):
    card = slow(opened())
    expect(card).to_have_attribute("data-state", "running")
    # Workers make previews only of jobs that a client follows; this browser did not submit this one.
    page = opened(f"/#job/{card.get_attribute('data-id')}")
    status = page.locator("#viewer .viewer-status")
    expect(status).to_have_text(re.compile(r"Step \d+ of \d+"))
    expect(status).not_to_have_text(status.inner_text())
    expect(page.locator("#viewer img.preview")).to_be_visible()
    page.locator("#viewer").get_by_role("button", name="Cancel").click()
    expect(status).to_have_text("Canceled")
