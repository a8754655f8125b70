"""The web page on a real fleet with the bundled model, as people use it."""

import re
from urllib.parse import urlsplit

import pytest
from conftest import BASE, EXAMPLES
from helpers import BLUE_SQUARE, VIEWS, attached, done, generate, settled, slow, until
from playwright.sync_api import expect


def test_a_prompt_becomes_a_picture(page):
    card = generate(page, seed=102)
    picture = done(card)
    assert picture.evaluate("image => image.naturalWidth") == int(page.input_value("#width"))
    expect(card.locator(".card-status")).to_contain_text("seed 102")


def test_references_are_uploaded_and_used(page):
    attached(page, 0, "content_star.png")
    attached(page, 1, "style_neon.png")
    attached(page, 2, "style_dots.png")
    with page.expect_request(lambda asked: asked.url.endswith("/v1/jobs") and asked.method == "POST") as sent:
        card = generate(page, "the star is in the middle in the blue sky", seed=106)
    body = sent.value.post_data_json
    assert body["content"].startswith("upload:") and len(body["styles"]) == 2
    assert sent.value.headers["idempotency-key"]
    done(card)
    expect(card.locator(".card-references img")).to_have_count(3)


def test_the_store_takes_uploads_from_this_page_and_from_no_other(page):
    with page.expect_response(lambda answer: answer.request.method == "PUT") as stored:
        attached(page, 0, "content_star.png")
    put = stored.value.request
    here, store = urlsplit(BASE), urlsplit(put.url)
    assert (here.hostname, here.port) != (store.hostname, store.port)
    # These headers show that the browser enforced CORS and the store allowed the origin.
    assert put.header_value("origin") == BASE
    assert stored.value.header_value("access-control-allow-origin") == BASE
    stranger = page.context.new_page()
    refused = stranger.evaluate(
        """async ([url, headers]) => {
            try { await fetch(url, { method: 'PUT', body: 'x', headers }); return false; } catch { return true; }
        }""",
        [put.url, {"content-type": "image/png"}],
    )
    assert refused


def test_a_dropped_picture_fills_its_slot_and_swaps(page):
    page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
            canvas.getContext('2d').fillRect(5, 5, 20, 20);
            const blob = await new Promise((made) => canvas.toBlob(made, 'image/png'));
            const data = new DataTransfer();
            data.items.add(new File([blob], 'dropped.png', { type: 'image/png' }));
            document.querySelectorAll('.slot')[1].dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: data }));
        }"""
    )
    expect(page.locator("#slot-1")).to_have_attribute("aria-label", re.compile("dropped.png"))
    expect(page.locator(".slot").nth(1).locator("progress")).to_have_count(0)
    page.get_by_role("button", name="Swap style reference with extra").click()
    expect(page.locator("#slot-2")).to_have_attribute("aria-label", re.compile("dropped.png"))
    page.get_by_role("button", name="Remove extra style reference").click()
    expect(page.locator(".slot.filled")).to_have_count(0)


def test_a_pasted_picture_fills_the_first_empty_slot(page):
    page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
            const blob = await new Promise((made) => canvas.toBlob(made, 'image/png'));
            const data = new DataTransfer();
            data.items.add(new File([blob], 'pasted.png', { type: 'image/png' }));
            document.body.dispatchEvent(new ClipboardEvent('paste', { bubbles: true, cancelable: true, clipboardData: data }));
        }"""
    )
    expect(page.locator("#slot-0")).to_have_attribute("aria-label", re.compile("pasted.png"))


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("notes.png", b"not a picture at all", "not a picture"),
        ("empty.png", b"", "empty"),
        ("cut.png", (EXAMPLES / "content_star.png").read_bytes()[:70], "damaged"),
    ],
    ids=["words", "empty", "cut"],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_reason(page, name, content, words):
    page.set_input_files("#slot-0", {"name": name, "mimeType": "image/png", "buffer": content})
    expect(page.locator("#slot-0-error")).to_contain_text(words)
    expect(page.locator("#slot-0")).to_have_attribute("aria-invalid", "true")


def test_progress_and_previews_are_live(page):
    card = slow(page)
    expect(card.locator(".card-status")).to_contain_text(re.compile(r"Step \d+ of \d+"))
    expect(card.locator("img.preview")).to_be_visible()
    card.get_by_role("button", name="Cancel").click()


def test_a_running_job_is_canceled(page):
    card = slow(page)
    expect(card).to_have_attribute("data-state", "running")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_have_attribute("data-state", "canceled")
    card.get_by_role("button", name="Remove from this page").click()
    expect(page.locator(".card")).to_have_count(0)


def test_a_reload_in_mid_job_loses_nothing(page):
    attached(page, 1, "style_mosaic.png")
    card = slow(page, side=256)
    expect(card).to_have_attribute("data-state", "running")
    page.reload()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator("#prompt")).to_have_value(BLUE_SQUARE)
    expect(page.locator(".slot").nth(1).locator("img")).to_be_visible()
    done(page.locator(".card").first)


def test_the_queue_shows_how_a_worker_laid_out_its_model(opened):
    page = opened("/#queue")
    expect(page.locator("#workers .worker .plan").first).to_contain_text("a step at")


def test_a_final_event_during_a_read_is_not_lost(page):
    # The answer to a request from before the end still has the old state.
    state = page.evaluate(
        """async () => {
            const { jobs } = await import('/page/shared/jobs.js');
            const real = window.fetch;
            const views = [{ state: 'running', step: 9, of: 10, version: 1 }, { state: 'succeeded', version: 2 }];
            window.fetch = async (...asked) => {
                if (!String(asked[0]).includes('/v1/jobs/heard')) return real(...asked);
                const view = { id: 'heard', ...views.shift() };
                await new Promise((resolve) => setTimeout(resolve, 50));
                return new Response(JSON.stringify(view), { headers: { 'Content-Type': 'application/json' } });
            };
            jobs.put({ id: 'heard', state: 'running', version: 1 });
            const reading = jobs.read('heard');
            jobs.applyEvent('succeeded', { id: 'heard', version: 2 });
            await reading;
            for (let i = 0; i < 100 && jobs.get('heard').state === 'running'; i += 1) {
                await new Promise((resolve) => setTimeout(resolve, 20));
            }
            window.fetch = real;
            return jobs.get('heard').state;
        }"""
    )
    assert state == "succeeded"


def test_several_jobs_are_in_flight_at_once(page):
    page.get_by_role("radio", name="4", exact=True).click()
    generate(page, seed=500)
    expect(page.locator(".card")).to_have_count(4)
    for nth in range(4):
        done(page.locator(".card").nth(nth))
    seeds = {page.locator(".card-status").nth(nth).inner_text().split("seed ")[1] for nth in range(4)}
    assert seeds == {"500", "501", "502", "503"}


def test_the_server_stops_and_starts_again(page, fleet):
    running = slow(page, "generated over a restart", side=256)
    expect(running).to_have_attribute("data-state", "running")
    fleet.run("stop")
    try:
        expect(page.locator("#banner")).to_be_visible()
        generate(page, "sent while the server was down", width=64, height=64, steps=10)
        waiting = page.locator(".card", has_text="sent while")
        expect(waiting.locator(".card-status")).to_contain_text("does not answer")
    finally:
        fleet.run("start")
    expect(page.locator("#banner")).to_be_hidden()
    done(waiting)
    done(page.locator(".card", has_text="over a restart"))
    expect(page.locator(".card")).to_have_count(2)


def test_a_refusal_is_shown_at_its_field(page):
    refusal = {
        "title": "Unprocessable Entity",
        "status": 422,
        "code": "invalid_fields",
        "detail": "2 fields are not as they must be",
        "retryable": False,
        "errors": [
            {"pointer": "/steps", "code": "out_of_range", "message": "must be from 1 to 100"},
            {"pointer": "/priority", "code": "out_of_range", "message": "must be from -100 to 100"},
        ],
    }
    page.route("**/v1/jobs", lambda route: route.fulfill(status=422, json=refusal, content_type="application/problem+json"))
    generate(page)
    expect(page.locator("#steps-error")).to_have_text("Must be from 1 to 100.")
    expect(page.locator("#steps")).to_be_focused()
    expect(page.locator("#priority-error")).to_contain_text("Must be from -100")
    expect(page.locator(".card")).to_have_count(0)


def test_what_is_set_before_the_capabilities_are_read_stays(page):
    asked = []
    page.route("**/v1/capabilities", lambda route: asked.append(route))
    page.reload()
    page.locator("#steps").fill("7")
    page.locator("#seed").fill("4711")
    page.get_by_role("radio", name="2", exact=True).click()
    asked[0].continue_()
    page.locator("#about span").first.wait_for()
    assert (page.input_value("#steps"), page.input_value("#seed")) == ("7", "4711")
    assert page.input_value("#width") == "64"
    expect(page.get_by_role("radio", name="2", exact=True)).to_have_attribute("aria-checked", "true")


def test_a_job_has_a_class_a_priority_and_times(page):
    more = page.locator("details", has_text="More settings")
    more.locator("summary").click()
    page.get_by_role("radio", name="When idle").click()
    page.fill("#priority", "5")
    page.fill("#start_by", "2020-01-01T10:00")
    page.fill("#finish_by", "2099-12-31T10:00")
    more.locator("summary").click()
    expect(more.locator("summary")).to_contain_text("when idle, priority 5, start by, finish by")
    generate(page)
    expect(page.locator("#start_by-error")).to_have_text("This time has passed.")
    expect(page.locator("#start_by")).to_be_focused()
    page.fill("#start_by", "2099-12-30T10:00")
    with page.expect_request(lambda asked: asked.url.endswith("/v1/jobs") and asked.method == "POST") as sent:
        card = generate(page)
    body = sent.value.post_data_json
    assert (body["class"], body["priority"]) == ("bulk", 5)
    assert body["start_by"].startswith("2099-12-") and body["finish_by"].endswith("Z")
    done(card)


def test_a_picture_is_used_again(page):
    card = generate(page)
    done(card)
    card.get_by_role("button", name="Copy as curl").click()
    expect(page.locator(".notice").first).to_contain_text("curl")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("curl http") and BLUE_SQUARE in command
    with page.expect_download() as saved:
        card.get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename.startswith("a-blue-square") and saved.value.path().read_bytes()[:4] == b"\x89PNG"
    card.get_by_role("button", name="Use as style").click()
    expect(page.locator(".slot").nth(1).locator("img")).to_be_visible()
    done(generate(page, "the heart is at the right on a sandy beach"))
    card = page.locator(".card").first
    card.get_by_role("button", name="Repeat with another seed").click()
    expect(page.locator(".card")).to_have_count(3)
    done(page.locator(".card").first)


def test_the_viewer_shows_parameters_and_receipt(page):
    card = generate(page, seed=77)
    done(card)
    card.locator("button.open").click()
    viewer = page.locator("#viewer")
    expect(viewer).to_contain_text("77")
    expect(viewer).to_contain_text("Receipt")
    expect(page).to_have_url(re.compile("#job/"))
    page.reload()
    expect(viewer).to_contain_text("Receipt")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()


def test_the_viewer_says_that_a_prompt_was_cut(page):
    card = generate(page, "the heart is red " * 20)
    done(card)
    card.locator("button.open").click()
    viewer = page.locator("#viewer")
    expect(viewer).to_contain_text(re.compile(r"The prompt has \d+ T5 tokens; the last \d+ were not used\."))
    expect(viewer).to_contain_text("CLIP uses the first 32")


def test_the_gallery_filters_compares_and_deletes(page):
    for prompt in ("a green ring in the snow", "a red heart in the snow"):
        done(generate(page, prompt))
    page.get_by_role("link", name="Gallery").click()
    page.fill("#gallery-search", "in the snow")
    tiles = page.locator(".tile:visible")
    expect(tiles.first.locator("img")).to_have_class(re.compile("loaded"))
    expect(page.locator("#gallery-note")).to_contain_text("found")
    page.fill("#gallery-search", "green ring")
    expect(tiles.first).to_contain_text("green ring")
    page.fill("#gallery-search", "nothing is called this")
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#gallery-search")).to_have_value("")
    expect(tiles.first).to_be_visible()
    for words in ("green ring", "red heart"):
        page.fill("#gallery-search", words)
        expect(tiles.first).to_contain_text(words)
        tiles.first.locator("input").check()
    page.get_by_role("button", name="Compare").click()
    slider = page.get_by_role("slider", name="How much")
    before = slider.input_value()
    page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) > float(before)
    page.keyboard.press("Escape")
    count = tiles.count()
    tiles.first.get_by_role("button", name="Delete").click()
    expect(tiles).to_have_count(count - 1)
    page.get_by_role("button", name="Undo").click()
    expect(tiles).to_have_count(count)


def test_the_queue_shows_what_is_running(page):
    slow(page, "watched in the queue")
    page.get_by_role("link", name="Queue").click()
    row = page.locator("#live .row", has_text="watched in the queue")
    expect(row).to_be_visible()
    row.locator(".row-text button").click()
    expect(page.locator("#viewer").get_by_role("heading", level=2)).to_have_text("watched in the queue")
    page.keyboard.press("Escape")
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_have_count(0)


# Luminance and contrast as WCAG 2 defines them; colors are painted, because computed ones come in any notation.
CONTRAST = """
() => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const paint = (colours) => {
    pen.clearRect(0, 0, 1, 1);
    for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faults = [];
  for (const element of document.querySelectorAll('body *')) {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!words || !element.checkVisibility() || element.closest('.visually-hidden, .skip, [disabled], .check:has(:disabled)')) continue;
    const grounds = [];
    for (let at = element; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
    const ground = paint(['Canvas', ...grounds]);
    const ink = paint(['Canvas', ...grounds, getComputedStyle(element).color]);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faults.push(`${element.tagName}.${element.className} "${element.textContent.trim().slice(0, 30)}": ${ratio.toFixed(2)}`);
  }
  return faults;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_text_has_enough_contrast(opened, scheme, view):
    page = opened(view, color_scheme=scheme)
    settled(page, view)
    assert page.evaluate(CONTRAST) == []


def test_the_theme_follows_the_system_until_it_is_chosen(opened):
    page = opened(color_scheme="dark")
    paper = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = paper()
    page.locator("#theme").click()
    light = paper()
    assert light != dark
    page.reload()
    assert paper() == light
    page.locator("#theme").click()
    assert paper() == dark


def test_everything_can_be_done_with_the_keyboard(page):
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the prompt")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type(BLUE_SQUARE)
    page.keyboard.press("Tab")
    expect(page.locator("#slot-0")).to_be_focused()
    outline = page.locator(".slot-area").first.evaluate("face => getComputedStyle(face).outlineStyle")
    assert outline == "solid"
    page.get_by_role("radio", name="1", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="2", exact=True)).to_have_attribute("aria-checked", "true")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Control+Enter")
    card = page.locator(".card").first
    done(card)
    card.locator("button.open").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(card.locator("button.open")).to_be_focused()
    page.keyboard.press("q")
    expect(page.get_by_role("heading", name="Queue")).to_be_focused()
    page.keyboard.press("l")
    page.keyboard.press("/")
    expect(page.locator("#gallery-search")).to_be_focused()


def test_every_control_has_a_name(page):
    done(generate(page))
    for view in VIEWS:
        page.goto(page.url.split("#")[0] + view[1:])
        settled(page, view)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, input, select, textarea, a')]
                .filter((control) => control.checkVisibility())
                .filter((control) => !(control.ariaLabel || control.textContent.trim() || control.labels?.length))
                .map((control) => control.outerHTML.slice(0, 100))"""
        )
        assert nameless == []


def test_screen_readers_hear_the_progress(page):
    page.evaluate(
        """() => {
            window.heard = [];
            new MutationObserver(() => window.heard.push(document.getElementById('spoken').textContent))
                .observe(document.getElementById('spoken'), { childList: true, characterData: true, subtree: true });
        }"""
    )
    done(generate(page))
    until(page, "window.heard.some((text) => text.startsWith('Done'))", "it was never announced")
