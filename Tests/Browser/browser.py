"""Chromium without a screen, and what every test asks of a page: no error, no violation of its policy, no barrier."""

import json
import os
import pathlib
import time

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys  # noqa: F401 (tests press them)

from workbench import Failure

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
DRIVER = os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")

# Runs before any script of a page. Notes what its policy refused, how much moved under the reader's eyes, and what was said
# for a moment only: a driver on a busy machine comes too late to read that. What `find` and `words` do is said in Browser.
WATCH = """
window.__find = (selector, text = null) => [...document.querySelectorAll(selector)].find((element) => element.checkVisibility()
  && (text === null || __words(element).includes(text)));
window.__words = (element) => element.innerText || element.textContent || element.value || '';
window.__told = [];
addEventListener('DOMContentLoaded', () => {
  const note = (element) => new MutationObserver(() => { if (element.textContent) __told.push(element.textContent); }).observe(element, { childList: true, characterData: true, subtree: true });
  for (const id of ['toasts', 'announce']) if (document.getElementById(id)) note(document.getElementById(id));
});
window.__refused = [];
addEventListener('securitypolicyviolation', (event) => __refused.push(`${event.violatedDirective}: ${event.blockedURI}`));
window.__shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) __shifts.push({ at: entry.startTime, value: entry.value,
    what: entry.sources.map((source) => source.node?.outerHTML?.slice(0, 120) ?? source.node?.textContent ?? '') });
}).observe({ type: 'layout-shift', buffered: true });
"""


class Browser:
    def __init__(self, hub, width=1280, height=860, dark=False):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in ("--headless=new", f"--window-size={width},{height}", "--force-color-profile=srgb", "--hide-scrollbars",
                         "--no-first-run", "--disable-background-networking", "--no-proxy-server", "--lang=en-GB",
                         f"--ignore-certificate-errors-spki-list={hub.spki}", f"--user-data-dir={hub.folder}/browser-{time.monotonic_ns()}"):
            options.add_argument(argument)
        if os.geteuid() == 0:
            # Chromium's own sandbox does not run as root.
            options.add_argument("--no-sandbox")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_script_timeout(60)
        self.hub = hub
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        self.driver.execute_cdp_cmd("Browser.grantPermissions", {"origin": hub.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
        self.size(width, height)
        self.scheme(dark)
        self.complaints = []
        self.axe = None

    # What a page is shown in

    def size(self, width, height=860, scale=1):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600})

    def scheme(self, dark):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    # Moving about. No handle of an element is kept between looking and acting, because the page may draw it anew at any
    # moment: what is looked for and what is done with it are one script, or are done again until they were about one element.

    def open(self, path):
        self.driver.get(self.hub.url + path)

    def go(self, address):
        """To a view of the page, as a link would; waits until the page has turned to it."""
        self.driver.execute_async_script("""
            const [address, done] = arguments;
            if (location.hash === address) return done();
            addEventListener('hashchange', () => done(), { once: true });
            location.hash = address;""", address)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def sign_in(self, link):
        # The hub may have another port by now than when it printed the link.
        self.driver.get(self.hub.url + link[link.index("/login"):])
        self.press("Sign in")
        self.see("#view h1")

    # Looking

    def wait(self, what, look, limit=45):
        end = time.monotonic() + limit
        trouble = ""
        while True:
            try:
                found = look()
                trouble = ""
            except WebDriverException as error:
                # Between two documents there is nothing to ask. What stays wrong is told in the end.
                found, trouble = None, f" ({error.msg})"
            if found:
                return found
            if time.monotonic() > end:
                raise Failure(f"the page does not show {what} after {limit} s{trouble}; it says:\n{self.text('body')[:3000]}")
            time.sleep(0.05)

    def see(self, selector, text=None, limit=45):
        """Waits for a visible element that `selector` finds and that says `text`; gives all that it says."""
        found = self.wait(self._named(selector, text), lambda: self.js(
            "const found = __find(...arguments); return found ? { words: __words(found) } : null", selector, text), limit)
        return found["words"]

    def gone(self, selector, text=None, limit=45):
        self.wait(f"no {self._named(selector, text)}", lambda: self.js("return !__find(...arguments)", selector, text), limit)

    def texts(self, selector):
        """What the visible elements say that `selector` finds now."""
        return self.js("return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility()).map(__words)", selector)

    def text(self, selector="#view"):
        """What the first element says that `selector` finds now; empty without one."""
        try:
            return self.js("const found = document.querySelector(arguments[0]); return found ? __words(found) : ''", selector)
        except WebDriverException:
            return ""

    def told(self, text, limit=45):
        """Waits until the page has said `text` in passing, as a toast or to screen readers, since it was asked last."""
        self.wait(f"word of “{text}”", lambda: self.js("return __told.some((each) => each.includes(arguments[0]))", text), limit)
        self.js("__told.length = 0")

    def remember(self, **selectors):
        """From now on the page remembers all that these elements say; see `saw`."""
        self.js("""
            const selectors = arguments[0];
            window.__remembered = Object.fromEntries(Object.keys(selectors).map((name) => [name, []]));
            const note = () => {
              for (const [name, selector] of Object.entries(selectors)) for (const each of document.querySelectorAll(selector)) {
                if (each.checkVisibility() && !__remembered[name].includes(each.textContent)) __remembered[name].push(each.textContent);
              }
            };
            window.__remembering?.disconnect();
            window.__remembering = new MutationObserver(note);
            __remembering.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
            note();""", selectors)

    def saw(self, name, text, limit=45):
        """Waits until what is remembered as `name` has said `text`, if only for a moment."""
        try:
            self.wait(f"{name} with “{text}”", lambda: self.js("return __remembered[arguments[0]].some((each) => each.includes(arguments[1]))", name, text), limit)
        except Failure as failure:
            raise Failure(f"{failure}\nIt has said: {self.js('return __remembered[arguments[0]]', name)}") from None

    @staticmethod
    def _named(selector, text):
        return selector + (f" with “{text}”" if text else "")

    # Acting

    def press(self, label, within="body"):
        """The button or link that is called `label`."""
        self._click(f"a button “{label}” that can be pressed", """
            const [label, within] = arguments;
            return [...document.querySelectorAll(within)].flatMap((place) => [...place.querySelectorAll('button, a')])
              .find((each) => each.checkVisibility({ visibilityProperty: true }) && !each.disabled && [each.innerText.trim(), each.getAttribute('aria-label')].includes(label))""", label, within)

    def click(self, selector, text=None):
        """What `see` would find."""
        self._click(self._named(selector, text), "return __find(...arguments)", selector, text)

    def _click(self, what, find, *arguments):
        def press():
            # The page itself says whether it was this element that took the click: one that was drawn anew under the
            # pointer takes none. Where the click led to another document there is nobody left to say so.
            element = self.js(f"""
                const found = (function () {{ {find} }})(...arguments);
                if (!found) return null;
                window.__pressed = false;
                addEventListener('click', (event) => {{ if (found.contains(event.target)) window.__pressed = true; }}, {{ capture: true, once: true }});
                found.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                return found""", *arguments)
            if element is None:
                return False
            element.click()
            return self.js("return window.__pressed !== false")
        self.wait(what, press)

    def type(self, selector, text):
        """Into a field, in place of what is there, key by key."""
        self.wait(f"the field {selector}", lambda: self.js("""
            const found = __find(arguments[0]);
            if (!found || found.disabled) return false;
            found.scrollIntoView({ block: 'center', behavior: 'instant' });
            found.focus();
            found.select();
            return document.activeElement === found""", selector))
        self.keys(text if text else Keys.DELETE)
        typed = self.js("return document.activeElement.value")
        if typed != text:
            raise Failure(f"“{text}” was typed into {selector}, and it holds “{typed}”")

    def pick(self, selector, path):
        """A file, for a field that takes one."""
        def pick():
            self.driver.find_element("css selector", selector).send_keys(str(path))
            return True
        self.wait(f"the field {selector}", pick)

    def keys(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self):
        """What has the focus, as one would name it; nothing where nothing has."""
        return self.js("""
            const e = document.activeElement;
            return !e || e === document.body ? '' : (e.getAttribute('aria-label') || e.textContent || e.id || e.tagName).trim().slice(0, 60)""")

    def picture(self, path):
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    # Judging

    def console(self, allowed=()):
        """Notes what the console says of errors; `allowed` are parts of messages that belong to the test itself."""
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING") and not any(part in entry["message"] for part in allowed):
                self.complaints.append(f"console: {entry['message'][:500]}")
        for refused in self.js("const all = window.__refused ?? []; window.__refused = []; return all"):
            self.complaints.append(f"content security policy: {refused}")

    def barriers(self, where):
        """What axe-core finds in the page as it is shown now."""
        if self.axe is None:
            import axe_playwright_python
            self.axe = (pathlib.Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
        if not self.js("return Boolean(window.axe)"):
            self.js(self.axe)
        result = self.driver.execute_async_script("""
            const done = arguments[arguments.length - 1];
            axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'] })
              .then((result) => done(result.violations), (error) => done([{ id: 'axe', help: String(error), nodes: [] }]));
        """)
        for found in result:
            for node in found["nodes"][:3] or [{}]:
                reason = (node.get("any") or node.get("all") or node.get("none") or [{}])[0].get("message", "")
                self.complaints.append(f"{where}: {found['id']}: {found['help']}: {node.get('html', '')[:200]} ({reason})")
        return result

    def fits(self, where):
        """Nothing is wider than the window."""
        wide = self.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            what = self.js("""
                const limit = document.documentElement.clientWidth;
                return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > limit + 1 && !e.closest('.table-frame, .tabs, .fleet-states, .log'))
                  .map((e) => e.tagName + '.' + e.className).slice(0, 5).join(', ')""")
            self.complaints.append(f"{where}: {wide} px wider than the window: {what}")

    def stillness(self, where, seconds):
        """Nothing may move by itself while live data comes in."""
        self.js("window.__shifts = []")
        # allow-sleep: what is looked at is what happens meanwhile
        time.sleep(seconds)
        shifts = self.js("return window.__shifts")
        total = sum(shift["value"] for shift in shifts)
        # A line of text that moves by its own height in a large window counts about 0.001.
        if total > 0.001:
            self.complaints.append(f"{where}: layout shift {total:.3f} in {seconds} s: {json.dumps(shifts)[:600]}")
        return total

    def close(self):
        self.driver.quit()
