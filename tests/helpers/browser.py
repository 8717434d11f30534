"""A real Chromium, for the pages that have scripts; what needs it is skipped where it is not."""

import shutil
import time

import pytest

BINARIES = ("chromium", "chromium-browser", "google-chrome")


def chromium(width, height):
    """Return a driver of a headless Chromium with no network, or skip the test."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary = next(filter(None, map(shutil.which, BINARIES)), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("there is no chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    # The flag of the sandbox is for containers, whose user is root; there is nothing foreign in our pages.
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--host-rules=MAP * 127.0.0.1:9",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    page = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    resize(page, width, height)
    return page


def resize(page, width, height):
    """Make the page as wide and high as that, whatever the smallest window is."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def until(page, condition, seconds=30):
    """Wait for a condition in the page, an expression of JavaScript, to be true, and return it."""
    end = time.monotonic() + seconds
    while not (value := page.execute_script(f"return {condition}")):
        assert time.monotonic() < end, f"{condition}: {page.get_log('browser')}"
        time.sleep(0.02)
    return value
