"""Chromium without a screen, and what every test asks of a page: no error, no violation of its policy, no barrier."""

import json
import os
import pathlib
import time

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, NoSuchElementException, StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from workbench import Failure

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
DRIVER = os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")

# Runs before any script of a page: notes what its policy refused and how much moved under the reader's eyes.
WATCH = """
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

    # Moving about

    def open(self, path):
        self.driver.get(self.hub.url + path)

    def go(self, address):
        """To a view of the page, as a link would."""
        self.js("location.hash = arguments[0]", address)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def sign_in(self, link):
        # The hub may have another port by now than when it printed the link.
        self.driver.get(self.hub.url + link[link.index("/login"):])
        self.press("Sign in")
        self.see("#view h1")

    # Looking

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, what, look, limit=45):
        end = time.monotonic() + limit
        while True:
            try:
                found = look()
            except (StaleElementReferenceException, NoSuchElementException, JavascriptException):
                found = None
            if found:
                return found
            if time.monotonic() > end:
                raise Failure(f"the page does not show {what} after {limit} s; it says:\n{self.text('body')[:3000]}")
            time.sleep(0.05)

    def see(self, selector, text=None, limit=45):
        """The first visible element that `selector` finds and that says `text`."""
        def look():
            return self.js("""
                const [selector, text] = arguments;
                return [...document.querySelectorAll(selector)].find((element) => element.checkVisibility()
                  && (text === null || (element.innerText || element.textContent || element.value || '').includes(text)))""", selector, text)
        return self.wait(f"{selector}{f' with “{text}”' if text else ''}", look, limit)

    def gone(self, selector, text=None, limit=45):
        return self.wait(f"no {selector}", lambda: self.js("""
            const [selector, text] = arguments;
            return ![...document.querySelectorAll(selector)].some((element) => element.checkVisibility() && (text === null || element.innerText.includes(text)))""",
            selector, text), limit)

    def text(self, selector="#view"):
        try:
            return self.driver.find_element(By.CSS_SELECTOR, selector).text
        except (NoSuchElementException, WebDriverException):
            return ""

    # Acting

    def press(self, label, within="body"):
        """The button or link that is called `label`."""
        def press():
            # Looked for at each try: what the page draws anew meanwhile is another element.
            for element in self.all(f"{within} button, {within} a"):
                if element.is_displayed() and element.is_enabled() and label in (element.text.strip(), element.get_attribute("aria-label")):
                    self.js("arguments[0].scrollIntoView({ block: 'center' })", element)
                    return self._click(element)
            return False
        self.wait(f"a button “{label}” that can be pressed", press)

    @staticmethod
    def _click(element):
        try:
            element.click()
            return True
        except StaleElementReferenceException:
            raise
        except WebDriverException:
            return False

    def type(self, selector, text):
        element = self.see(selector)
        element.clear()
        element.send_keys(text)
        return element

    def keys(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self):
        """What has the focus, as one would name it."""
        return self.js("const e = document.activeElement; return (e.getAttribute('aria-label') || e.textContent || e.id || e.tagName).trim().slice(0, 60)")

    def picture(self, path, scale=None):
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
