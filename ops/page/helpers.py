"""What users do on the page, and how a test waits for the result."""

import re
import time

from conftest import EXAMPLES, PATIENCE_MS
from playwright.sync_api import expect

BLUE_SQUARE = "a blue square in the centre on a sandy beach"
VIEWS = ["/", "/#queue", "/#gallery", "/#batch"]


def generate(page, prompt=BLUE_SQUARE, **settings):
    page.fill("#prompt", prompt)
    for name, value in settings.items():
        page.fill(f"#{name}", str(value))
    page.keyboard.press("Control+Enter")
    return page.locator(".card").first


def slow(page, prompt=BLUE_SQUARE, side=448):
    """Submits a job of several seconds: the bundled model at a size far above its own."""
    return generate(page, prompt, width=side, height=side, steps=page.get_attribute("#steps", "max"))


def done(card):
    """Waits for the result, as long as the status of the card changes: a machine may be slow."""
    status = card.locator(".card-status")
    while True:
        said, state = status.inner_text(), card.get_attribute("data-state")
        assert state in ("sending", "queued", "running", "succeeded"), said
        if state == "succeeded":
            break
        expect(status).not_to_have_text(said, timeout=90_000)
    picture = card.locator("img.result")
    expect(picture).to_have_class(re.compile("loaded"))
    return picture


def until(page, expression, what):
    """Polls an expression. Playwright's own waiting evaluates strings, which the page's policy forbids."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, what
        page.wait_for_timeout(50)


def settled(page, view):
    """Waits until a view has loaded."""
    if view == "/#queue":
        expect(page.locator("#figures .figure").first).to_be_visible()
        expect(page.locator("#workers .worker").first).to_be_visible()
        until(page, "document.querySelector('#live .row') || document.querySelector('#live-note').textContent", view)
    elif view == "/#gallery":
        expect(page.locator(".tile, #gallery-empty:not([hidden])").first).to_be_visible()
        expect(page.locator("#view-gallery")).not_to_have_attribute("aria-busy", "true")
    elif view == "/#batch":
        expect(page.locator("#batch-list .row, #batch-note:not([hidden])").first).to_be_visible()
    else:
        expect(page.locator(".example:visible, .card").first).to_be_visible()


def attached(page, slot, file):
    page.set_input_files(f"#slot-{slot}", EXAMPLES / file)
    expect(page.locator(".slot").nth(slot).locator("img")).to_be_visible()
    expect(page.locator(".slot").nth(slot).locator("progress")).to_have_count(0)
