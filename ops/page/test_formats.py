"""Pictures in other formats than PNG, and their thumbnails."""

import re

from helpers import done, generate
from playwright.sync_api import expect


def test_a_job_has_a_format_and_a_quality(page):
    more = page.locator("details", has_text="More settings")
    more.locator("summary").click()
    expect(page.get_by_role("radio", name="PNG")).to_have_attribute("aria-checked", "true")
    expect(page.locator("#quality")).to_be_hidden()
    page.get_by_role("radio", name="WebP").click()
    expect(page.locator("#quality")).to_have_value("90")
    page.fill("#quality", "60")
    more.locator("summary").click()
    expect(more.locator("summary")).to_contain_text("WebP")
    with page.expect_request(lambda asked: asked.url.endswith("/v1/jobs") and asked.method == "POST") as sent:
        card = generate(page)
    body = sent.value.post_data_json
    assert (body["format"], body["quality"]) == ("webp", 60)
    expect(done(card)).to_have_attribute("src", re.compile(r"/0\.webp"))
    card.locator(".open").click()
    expect(page.locator(".facts").first).to_contain_text("WebP, quality 60")


def test_a_png_is_asked_for_without_a_quality(page):
    with page.expect_request(lambda asked: asked.url.endswith("/v1/jobs") and asked.method == "POST") as sent:
        card = generate(page)
    assert sent.value.post_data_json["format"] == "png" and "quality" not in sent.value.post_data_json
    done(card)


def test_the_gallery_shows_thumbnails_of_large_pictures(page):
    card = generate(page, width=400, height=400, steps=2)
    expect(done(card)).to_have_attribute("src", re.compile(r"/0\.png"))
    page.goto(page.url.split("#")[0] + "#gallery")
    picture = page.locator(".tile img").first
    expect(picture).to_have_attribute("src", re.compile(r"/0\.thumb\.webp"))
    expect(picture).to_have_class(re.compile("loaded"))
    assert picture.evaluate("picture => picture.naturalWidth") == 384
