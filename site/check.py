"""Checks a site that was made: each link leads to a page, a file or a heading, and nothing comes from another host."""

import html.parser
import pathlib
import re
import urllib.parse

# What is fetched with a page. A link to another host is fetched only if a reader follows it.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data", "video": "src", "audio": "src"}


class Page(html.parser.HTMLParser):
    """The anchors of a page, its links, and what is fetched with it."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors, self.links, self.fetched = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"):
            self.anchors.add(values["id"])
        if tag == "a" and values.get("name"):
            self.anchors.add(values["name"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "link" and values.get("href"):
            self.fetched.append(values["href"])
        if values.get(FETCHED.get(tag, "")):
            self.fetched.append(values[FETCHED[tag]])


def check(site: pathlib.Path) -> list:
    """What is wrong with the site, in words."""
    problems = []
    pages = {path.resolve(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    links = 0
    for path, page in pages.items():
        shown = path.relative_to(site.resolve())
        # The page for an address that does not exist is shown at any address: its links begin at the root of the server.
        is_for_any_address = shown.as_posix() == "404.html"
        for target in page.links + page.fetched:
            address = urllib.parse.urlsplit(target)
            if address.scheme or address.netloc:
                if target in page.fetched:
                    problems.append(f"{shown}: fetches {target}")
                continue
            links += 1
            if is_for_any_address:
                to = site.resolve() / address.path.lstrip("/") if address.path else path
            else:
                to = (path.parent / urllib.parse.unquote(address.path)).resolve() if address.path else path
            if to.is_dir():
                to = to / "index.html"
            if not to.is_file():
                problems.append(f"{shown}: nothing at {target}")
            elif address.fragment and to in pages and urllib.parse.unquote(address.fragment) not in pages[to].anchors:
                if address.fragment != "__codelineno":
                    problems.append(f"{shown}: no heading for {target}")
    for path in sorted(site.rglob("*.css")):
        for target in re.findall(r"(?:url\(|@import )\s*[\"']?(https?:)?//[^)\"']+", path.read_text()):
            problems.append(f"{path.relative_to(site)}: fetches from another host")
    if len(pages) < 15 or links < 1000:
        problems.append(f"only {len(pages)} pages with {links} links: this is not the whole site")
    return problems, f"{len(pages)} pages, {links} links within the site"
