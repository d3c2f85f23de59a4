"""Take the picture of a widget that README.md shows: `screenshot.py SITE`, after `make site`."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from minimamba.course.plots import compact

PICTURE = Path(__file__).resolve().parent.parent.parent / "figures" / "token-explorer.png"


def screenshot(site: Path) -> bytes:
    """The widget of the site's first page, with an input of its own, as a PNG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 900}, device_scale_factor=1.5,
                                color_scheme="light")
        page.goto((site / "index.html").resolve().as_uri())
        widget = page.locator(".minimamba-explorer")
        widget.locator("input").first.fill("..s..t...a..t..e")
        return widget.screenshot()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: screenshot.py SITE")
    PICTURE.write_bytes(compact(screenshot(Path(sys.argv[1]))))
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e3:.0f} KB")
