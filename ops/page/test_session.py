"""Signing out removes everything that belongs to you."""

from helpers import attached, done, generate
from playwright.sync_api import expect

STORED = "Object.keys(localStorage).concat(Object.keys(sessionStorage)).filter((name) => name.startsWith('uso.'))"


class Keys:
    """Makes the fleet look like one that requires keys, with a session of `tenant`, if any."""

    def __init__(self, context):
        self.tenant = "first"
        context.route("**/v1/capabilities", self.capabilities)
        context.route("**/v1/session", self.session)

    def capabilities(self, route):
        if not self.tenant:
            return self.refuse(route)
        told = route.fetch().json()
        route.fulfill(json={**told, "auth": "keys", "tenant": self.tenant})

    def session(self, route):
        method = route.request.method
        if method == "POST":
            self.tenant = route.request.post_data_json["key"]
        elif method == "DELETE":
            self.tenant = None
        if method == "GET":
            return route.fulfill(json={"tenant": self.tenant, "scopes": [], "auth": "keys", "session": True})
        route.fulfill(status=204)

    @staticmethod
    def refuse(route):
        problem = {"title": "Unauthorized", "status": 401, "code": "no_key", "detail": "a key is needed"}
        route.fulfill(status=401, json=problem, content_type="application/problem+json")


def with_something_to_hide(page):
    keys = Keys(page.context)
    page.reload()
    page.locator("#about", has_text="tenant first").wait_for()
    attached(page, 1, "style_neon.png")
    done(generate(page, "a secret garden"))
    return keys


def signed_out(page):
    expect(page.locator("#login")).to_be_visible()
    assert set(page.evaluate(STORED)) <= {"uso.left", "uso.theme", "uso.keys"}
    expect(page.locator("#prompt")).to_have_value("")
    expect(page.locator(".slot.filled, .card")).to_have_count(0)
    assert page.evaluate("document.documentElement.outerHTML.includes('secret garden')") is False


def sign_in(page, tenant):
    page.fill("#key", tenant)
    page.locator("#login-go").click()
    page.locator("#about", has_text=f"tenant {tenant}").wait_for()


def test_signing_out_leaves_nothing_in_the_browser(page):
    with_something_to_hide(page)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#prompt")).to_have_value("a secret garden")
    page.get_by_role("button", name="Sign out").click()
    signed_out(page)
    # Another tab still shows everything, and would save it again when it closes.
    signed_out(other)
    other.close()
    signed_out(page)
    sign_in(page, "first")
    expect(page.locator("#prompt")).to_have_value("")


def test_another_tenant_finds_nothing_of_the_one_before(page):
    keys = with_something_to_hide(page)
    # The session expires: nobody has signed out.
    keys.tenant = None
    page.reload()
    expect(page.locator("#login")).to_be_visible()
    sign_in(page, "second")
    expect(page.locator("#prompt")).to_have_value("")
    expect(page.locator(".slot.filled, .card")).to_have_count(0)


def test_the_same_tenant_finds_everything_as_it_was(page):
    keys = with_something_to_hide(page)
    keys.tenant = None
    page.reload()
    sign_in(page, "first")
    expect(page.locator("#prompt")).to_have_value("a secret garden")
    expect(page.locator(".slot").nth(1).locator("img")).to_be_visible()
    expect(page.locator(".card")).to_have_count(1)
