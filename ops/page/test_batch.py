"""The view of data sets: on a fleet with a scripted engine, and with a long list that the test makes up."""

import json
import re
import subprocess
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import EXAMPLES, HERE
from helpers import until
from playwright.sync_api import expect
from test_page import CONTRAST

# Of 3 tries of a row each fails at this rate, by the row's number and seed: some rows fail for good.
ENGINE = "scripted:step=20ms,fail=0.5"
ROWS = 60
MANY = 100_000
MOST_NODES = 500


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """The address of a fleet whose pictures take no time."""
    folder = tmp_path_factory.mktemp("scripted")
    start = [HERE.parent / "fleet.sh", "start", folder, "--engine", ENGINE, "--allow-test-engine"]
    yield subprocess.run(start, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    subprocess.run([HERE.parent / "fleet.sh", "stop", folder], check=True)


def send(method, url, body=None, kind="application/json"):
    request = urllib.request.Request(url, body and body.encode(), {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def make(base, name, rows=ROWS, **fields):
    """Makes and starts a data set; returns its id."""
    made = send("POST", f"{base}/v1/batches", json.dumps({"dataset": {"name": name, "shard_rows": 20}}))
    lines = [
        json.dumps({"key": f"{name}-{row:03}", "prompt": f"fox {row} in the snow", "steps": 2, "seed": row, **fields})
        for row in range(rows)
    ]
    send("PUT", f"{base}/v1/batches/{made['id']}/rows?from=0", "\n".join(lines), "application/x-ndjson")
    send("POST", f"{base}/v1/batches/{made['id']}/start", json.dumps({"rows": rows}))
    return made["id"]


def test_a_data_set_is_followed_to_its_end(opened, scripted):
    batch = make(scripted, "foxes")
    page = opened("/#batch", base=scripted)
    row = page.locator("#batch-list .row", has_text="foxes")
    expect(row).to_contain_text(f"of {ROWS} rows")
    row.get_by_role("link", name="foxes").click()
    expect(page.get_by_role("heading", name="foxes", exact=True)).to_be_focused()
    expect(page.locator("#batch-status")).to_have_text("Done")
    expect(page.locator("#batch-figures")).to_contain_text(f"of {ROWS}, {ROWS} added")
    counts = page.evaluate("async (id) => (await (await fetch(`/v1/batches/${id}`)).json()).counts", batch)
    assert counts["succeeded"] + counts["failed"] == ROWS and counts["failed"] > 0
    spoken = f"{counts['succeeded']} done, {counts['failed']} failed"
    expect(page.locator("#batch-bar")).to_have_attribute("aria-label", spoken)

    cells = page.locator(".wall-cell")
    expect(page.locator("#batch-wall-note")).to_have_text(f"{counts['succeeded']} rows")
    expect(cells.first.locator("img")).to_be_visible()
    sources = page.evaluate("[...document.querySelectorAll('.wall-cell img')].map((image) => image.src)")
    assert sources and all(".thumb." in source for source in sources)
    until(page, "document.querySelector('.wall-cell img').naturalWidth > 0", "no thumbnail was loaded")
    # The fleet gives no scores, so none are shown.
    expect(page.locator("#batch-scores")).to_be_hidden()

    reasons = page.locator("#batch-reasons .row")
    expect(reasons).to_have_count(1)
    expect(reasons.locator("b")).to_have_text(re.compile(rf"^{counts['failed']} rows?$"))
    assert page.evaluate(CONTRAST) == []
    page.get_by_role("combobox", name="State of the rows").select_option("failed")
    expect(cells).to_have_count(counts["failed"])
    expect(cells.first.locator("img")).to_have_count(0)

    expect(reasons).to_contain_text(re.compile(r"foxes-\d{3}"))

    with page.expect_download() as saved:
        page.get_by_role("button", name="Index").click()
    assert saved.value.suggested_filename == "foxes-index.json"
    json.loads(saved.value.path().read_text())

    code = reasons.get_attribute("data-code")
    with page.expect_request("**/retry-failed?*") as sent:
        reasons.get_by_role("button", name=f"Retry the rows that failed with {code}").click()
    assert parse_qs(urlsplit(sent.value.url).query) == {"reason": [code]}
    expect(page.locator("#batch-status")).to_have_text("Done")
    until(page, f"fetch('/v1/batches/{batch}').then(async (batch) => (await batch.json()).dataset.pass === 1)", "not retried")
    page.get_by_role("link", name="All data sets").click()
    expect(page.get_by_role("heading", name="Data sets")).to_be_focused()


def test_a_row_says_what_it_was_made_from(opened, scripted):
    batch = make(scripted, "owls", rows=8)
    page = opened(f"/#batch/{batch}", base=scripted)
    expect(page.locator("#batch-status")).to_have_text("Done")
    first = page.locator(".wall-open").first
    expect(first.locator("img")).to_be_visible()
    key = first.locator(".wall-key").inner_text()
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".wall-open").nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    dialog = page.locator("#batch-row")
    expect(dialog.get_by_role("heading")).to_have_text(key)
    number = int(key.removeprefix("owls-"))
    expect(dialog).to_contain_text(f"fox {number} in the snow")
    expect(dialog.locator("div", has=page.locator("dt", has_text="Seed")).locator("dd").first).to_have_text(str(number))
    page.keyboard.press("Escape")
    expect(first).to_be_focused()


def test_a_data_set_is_paused_resumed_and_canceled(opened, scripted):
    batch = make(scripted, "slow", steps=100)
    page = opened(f"/#batch/{batch}", base=scripted)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#batch-status")).to_have_text("Paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#batch-status")).to_have_text("Running")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the data set").click()
    expect(page.locator("#batch-status")).to_have_text("Canceled")
    for name in ["Resume", "Budget", "Retry failed"]:
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)


def test_a_budget_is_seen_and_changed(opened, scripted):
    batch = make(scripted, "budget", rows=300, steps=20)
    page = opened(f"/#batch/{batch}", base=scripted)
    limits = page.locator("#batch-limits")
    expect(limits).to_contain_text("no budget")
    page.get_by_role("button", name="Budget", exact=True).click()
    dialog = page.get_by_role("dialog", name="Budget")
    pictures, seconds = dialog.get_by_label("Pictures"), dialog.get_by_label("Device time in seconds")
    expect(pictures).to_be_focused()
    assert page.evaluate(CONTRAST) == []
    seconds.fill("1.5")
    page.keyboard.press("Enter")
    expect(seconds).to_be_focused()
    expect(dialog.locator(".field-error:visible")).to_have_text(re.compile("whole number"))
    seconds.fill("9000")
    pictures.fill("1")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#batch-status")).to_have_text("Paused: its budget of pictures is used up")
    expect(limits).to_contain_text("of 1")
    expect(limits).to_contain_text("of 2.5 h")
    assert page.evaluate(CONTRAST) == []
    page.get_by_role("button", name="Raise the budget").click()
    expect(pictures).to_have_value("1")
    expect(seconds).to_have_value("9000")
    pictures.fill("")
    dialog.get_by_role("button", name="Change the budget").click()
    expect(page.locator("#batch-status")).to_have_text("Running")
    expect(page.get_by_role("button", name="Raise the budget")).to_have_count(0)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the data set").click()


def test_the_night_window_is_seen(opened, scripted):
    batch = make(scripted, "nightly", rows=1)
    page = opened("/", base=scripted)
    shown = send("GET", f"{scripted}/v1/batches/{batch}")
    shown["counts"] |= {"total": 9, "queued": 9, "running": 0, "succeeded": 0, "failed": 0}
    shown["dataset"] |= {"rows": 9, "started": 9}
    window = {
        "opens": "22:00:00",
        "closes": "06:30:00",
        "zone": "Europe/Berlin",
        "fill": False,
        "is_open": False,
        "opens_ms": 1_800_000_000_000,
        "closes_ms": 1_800_030_000_000,
    }
    page.route(f"**/v1/batches/{batch}", lambda route: route.fulfill(json=shown))
    page.route("**/v1/queue", lambda route: route.fulfill(json=send("GET", f"{scripted}/v1/queue") | {"window": window}))
    page.goto(f"{scripted}/#batch/{batch}")
    expect(page.locator("#batch-status")).to_have_text("Waiting for the night window")
    night = page.locator("#batch-limits .figure", has_text="Night window")
    expect(night).to_contain_text("22:00 to 06:30")
    expect(night).to_contain_text("Europe/Berlin; closed until")


def made_up(number):
    """A row with scores."""
    return {
        "row": number,
        "key": f"row-{number}",
        "job": f"job-{number}",
        "state": "succeeded",
        "error": None,
        "output": {
            "thumbnail_url": f"/thumbnail/{number}",
            "url": "/never",
            "width": 1024,
            "height": 1024,
            "scores": {"taken": 0, "tries": [{"seed": 1, "scores": {"clip_t": number % 1000 / 1000, "dino": None}}]},
        },
        "finished_ms": 1,
    }


def answer_many(page, base, batch, many):
    """Makes the data set one of `many` rows. Returns the numbers of the rows that pages are asked from."""
    asked = []
    shown = send("GET", f"{base}/v1/batches/{batch}")
    shown["counts"] |= {"total": many, "succeeded": many, "failed": 0}
    shown["dataset"] |= {"rows": many, "started": many, "archived": many}

    def rows(route):
        query = parse_qs(urlsplit(route.request.url).query)
        if "key" in query:
            # Of other rows nothing is known.
            number = query["key"][0].removeprefix("row-")
            if not number.isdecimal() or int(number) >= many:
                refusal = {"title": "Not Found", "status": 404, "code": "no_such_row", "detail": "no such row"}
                route.fulfill(status=404, content_type="application/problem+json", json=refusal)
                return
            query["skip"] = [number]
        first, limit = int(query.get("skip", query.get("from", ["0"]))[0]), int(query["limit"][0])
        asked.append(first)
        end = min(first + limit, many)
        found = [made_up(number) for number in range(first, end)]
        route.fulfill(json={"rows": found, "next": None, "before": first, "total": many})

    picture = (EXAMPLES / "content_star.png").read_bytes()
    page.route("**/thumbnail/*", lambda route: route.fulfill(content_type="image/png", body=picture))
    page.route(f"**/v1/batches/{batch}", lambda route: route.fulfill(json=shown))
    page.route(f"**/v1/batches/{batch}/rows*", rows)
    return asked


# Longest task of the page, in microseconds of the processor's time: other work on the machine does not lengthen it.
LONGEST_TASK = 50_000


def main_thread_tasks(trace):
    """The processor's time of each task of the page's main thread, in microseconds."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        event["tdur"]
        for event in events
        if event["name"] == "ThreadControllerImpl::RunTask" and "tdur" in event and (event["pid"], event["tid"]) in mains
    ]


# Scrolls down in steps as a person does, and keeps the most elements that the view had.
WALK = """async () => {
    const wall = document.getElementById('batch-wall');
    const nodes = () => document.querySelectorAll('#view-batch *').length;
    let most = nodes();
    for (let step = 0; step < 150; step += 1) {
        wall.scrollTop += 400;
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        most = Math.max(most, nodes());
    }
    return most;
}"""


def test_a_wall_of_many_rows_stays_small_and_quick(opened, browser, scripted):
    batch = make(scripted, "many", rows=1)
    page = opened("/", base=scripted)
    asked = answer_many(page, scripted, batch, MANY)
    browser.start_tracing(page=page, categories=["toplevel"])
    page.goto(f"{scripted}/#batch/{batch}")
    expect(page.locator("#batch-wall-note")).to_have_text("100,000 rows")
    expect(page.locator(".wall-cell img").first).to_be_visible()
    expect(page.locator("#batch-histograms figure")).to_have_count(1)
    assert len(asked) < 10, "rows are read that nobody has asked for"
    assert page.evaluate(WALK) <= MOST_NODES
    tasks = main_thread_tasks(browser.stop_tracing())
    assert len(tasks) > 500
    assert max(tasks) < LONGEST_TASK


def test_any_of_many_rows_is_reached_at_once(opened, scripted):
    batch = make(scripted, "ends", rows=1)
    page = opened("/", base=scripted)
    asked = answer_many(page, scripted, batch, MANY)
    page.goto(f"{scripted}/#batch/{batch}")
    cell = lambda number: page.locator(f".wall-cell[data-index='{number}']")  # noqa: E731
    expect(cell(0).locator(".wall-key")).to_have_text("row-0")
    cell(0).locator(".wall-open").focus()
    page.keyboard.press("End")
    last = cell(MANY - 1).locator(".wall-open")
    expect(last).to_be_focused()
    expect(last.locator(".wall-key")).to_have_text(f"row-{MANY - 1}")
    assert page.evaluate("document.querySelectorAll('#view-batch *').length") <= MOST_NODES
    page.keyboard.press("Home")
    expect(cell(0).locator(".wall-key")).to_have_text("row-0")
    expect(cell(0).locator("img")).to_be_visible()

    find = page.get_by_role("textbox", name="Number or key of a row")
    for text, number in [("54321", 54_321), ("row-777", 777)]:
        find.fill(text)
        page.keyboard.press("Enter")
        expect(cell(number).locator(".wall-open")).to_be_focused()
        expect(cell(number).locator(".wall-key")).to_have_text(f"row-{number}")
    find.fill("nobody")
    page.keyboard.press("Enter")
    expect(page.locator("#batch-find-note")).to_have_text("No row nobody has ended")
    assert len(asked) < 30, "rows are read that nobody looks at"
