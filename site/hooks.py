"""What mkdocs asks while it makes the site: anchors as the pages' links expect them, a place for every page, and the search."""

import json
import pathlib
import re
import sys

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import pages  # pylint: disable=wrong-import-position


def listed(entries) -> set:
    """The pages that a part of the navigation names."""
    found = set()
    for entry in entries:
        for page in entry.values() if isinstance(entry, dict) else [entry]:
            found |= listed(page) if isinstance(page, list) else {page}
    return found


def on_config(config):
    # The links of the pages are made for these.
    config["mdx_configs"]["toc"]["slugify"] = lambda heading, _: pages.anchor(heading)
    written = pathlib.Path(config["docs_dir"])
    # The pages of the API come in an order of their own.
    config["nav"].append({"API": yaml.safe_load((written / "reference" / "navigation.yml").read_text())})
    named = listed(config["nav"])
    more = sorted(page.relative_to(written).as_posix() for page in written.rglob("*.md"))
    more = [page for page in more if page not in named]
    if more:
        config["nav"].append({"More": more})
    return config


# Pages that are made of parts of others.
MADE_OF_PARTS = re.compile(r"(index|adapters-\w+|many-threads)\.html#")


def on_post_build(config):
    """Makes the index of the search half as large, which a reader waits for: of a whole page it has each word once, since the page's
    sections have its text, and of a section that stands on two pages one. A page that is opened as a file cannot fetch the index: it
    comes as a script too."""
    index = pathlib.Path(config["site_dir"]) / "search" / "search_index.json"
    found = json.loads(index.read_text())
    elsewhere = {(part["title"], part["text"]) for part in found["docs"] if not MADE_OF_PARTS.match(part["location"])}
    found["docs"] = [part for part in found["docs"]
                     if not MADE_OF_PARTS.match(part["location"]) or (part["title"], part["text"]) not in elsewhere]
    for part in found["docs"]:
        if "#" not in part["location"]:
            part["text"] = " ".join(sorted(set(part["text"].split())))
    index.write_text(json.dumps(found))
    index.with_suffix(".js").write_text(f"__index = {json.dumps(found)};\n")
