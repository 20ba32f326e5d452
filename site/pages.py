"""The pages of the site, from README.md and the other pages of the root, and from docs/: the text as it stands, with links that
lead somewhere on the site, and pages that are made of parts of these."""

import pathlib
import posixpath
import re
import shutil

FENCE = re.compile(r"^ *```")
HEADING = re.compile(r"^(#+) +(.*)$")
# A link or a picture: what stands before its target, and the target.
LINK = re.compile(r"(\]\()([^()\s`]+)(\))")
CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)


class Broken(Exception):
    """What the pages say does not fit together."""


def anchor(heading: str) -> str:
    """The anchor of a heading, as tests/docs/check.cmake expects it."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def blocks(text: str):
    """The lines of a page, each with whether it is code."""
    inside = False
    for line in text.splitlines():
        fence = FENCE.match(line)
        yield line, inside or bool(fence)
        if fence:
            inside = not inside


def sections(text: str) -> list:
    """The page in sections: (level, heading, text with the heading), none of them within another."""
    found = [(0, "", [])]
    for line, is_code in blocks(text):
        heading = None if is_code else HEADING.match(line)
        if heading:
            found.append((len(heading[1]), heading[2], []))
        found[-1][2].append(line)
    return [(level, heading, "\n".join(lines).strip("\n") + "\n") for level, heading, lines in found if lines]


def anchors(text: str) -> set:
    return {anchor(heading) for level, heading, _ in sections(text) if level}


def part(text: str, heading: str) -> str:
    """The section with this heading, and those within it."""
    found = sections(text)
    at = [number for number, (_, name, _) in enumerate(found) if name == heading]
    if len(at) != 1:
        raise Broken(f"{len(at)} headings '{heading}', of which the site shows one")
    begin = at[0]
    end = begin + 1
    while end < len(found) and found[end][0] > found[begin][0]:
        end += 1
    return "\n".join(section for _, _, section in found[begin:end])


def raised(text: str, levels: int) -> str:
    """The text with its headings so many levels higher."""
    return "\n".join(
        line[levels:] if not is_code and HEADING.match(line) else line for line, is_code in blocks(text)) + "\n"


def as_mkdocs_reads_it(text: str) -> str:
    """Lists as mkdocs wants them: behind an empty line, and what belongs to a point indented by four."""
    lines = []
    indent = 0  # of what belongs to the point that is open
    for line, is_code in blocks(text):
        point = None if is_code else re.match(r"([-*]|\d+\.) +", line)
        if point:
            if lines and lines[-1].strip() and not indent:
                lines.append("")
            indent = len(point[0])
        elif line.strip() and not line.startswith(" " * indent):
            indent = 0
        elif indent and line.strip():
            line = "    " + line[indent:]
        lines.append(line)
    return "\n".join(lines) + "\n"


class Pages:
    """Writes the pages below `target`, and knows which page shows which file of the repository."""

    def __init__(self, source: pathlib.Path, target: pathlib.Path, settings: dict):
        self.source = source
        self.target = target
        self.settings = settings
        self.page_of = {"README.md": "start.md"}  # file of the repository: page of the site
        for file in sorted(source.glob("*.md")):
            if file.name != "README.md":
                self.page_of[file.name] = file.name.lower()
        for file in sorted((source / "docs").rglob("*.md")):
            self.page_of[file.relative_to(source).as_posix()] = file.relative_to(source / "docs").as_posix()
        taken = list(self.page_of.values())
        for page in taken:
            if taken.count(page) > 1:
                raise Broken(f"two files would be the page {page}")
        self.text = {file: (source / file).read_text() for file in self.page_of}

    # ---- Links ----------------------------------------------------------------------------------------------------------

    def source_link(self, file: str, page: str) -> str:
        """A link from a page to a file or a directory of the repository: to its address, or to a copy on the site."""
        path = self.source / file
        if not path.exists():
            raise Broken(f"{page}: nothing at {file}")
        address = (self.settings.get("repo_url") or "").rstrip("/")
        if address:
            return address + self.settings["extra"]["repo_directory" if path.is_dir() else "repo_file"] + file.rstrip("/")
        copied = "source/" + re.sub(r"(^|/)\.", r"\1dot-", file.rstrip("/"))  # mkdocs leaves out what begins with a dot
        if path.is_dir():
            copied += "/files.txt"
            names = sorted(inner.name + ("/" if inner.is_dir() else "") for inner in path.iterdir())
            self.write(copied, f"{file.rstrip('/')}:\n\n" + "".join(f"{name}\n" for name in names))
        else:
            copied += ".txt"
            self.write(copied, path.read_text())
        return posixpath.relpath(copied, posixpath.dirname(page) or ".")

    def link(self, target: str, file: str, page: str, own: set) -> str:
        """Where a link of a file leads on the site. `own` are the anchors of the page."""
        if re.match(r"^[a-z]+:", target):
            return target
        path, _, fragment = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), path)) if path else file
        if path == file and self.page_of.get(file) != page:
            if fragment in own:
                return "#" + fragment
        elif path == file:
            return "#" + fragment if fragment else posixpath.basename(page)
        if path in self.page_of:
            to = posixpath.relpath(self.page_of[path], posixpath.dirname(page) or ".")
            return to + ("#" + fragment if fragment else "")
        if path.startswith("docs/") and (self.source / path).is_file():
            return posixpath.relpath(path[len("docs/"):], posixpath.dirname(page) or ".")  # a picture, or data
        return self.source_link(path, page)

    def linked(self, text: str, file: str, page: str) -> str:
        """The text of a file with links that lead somewhere on the site."""
        own = anchors(text)
        lines, code = [], []
        for line, is_code in blocks(text):  # code stays as it is
            lines.append(f"\0{len(code)}\0" if is_code else line)
            if is_code:
                code.append(line)
        text = "\n".join(lines) + "\n"
        spans = []

        def keep(span):
            spans.append(span[0])
            return f"\1{len(spans) - 1}\1"

        text = CODE_SPAN.sub(keep, text)
        text = LINK.sub(lambda link: link[1] + self.link(link[2], file, page, own) + link[3], text)
        # A picture leads to itself, where it can be seen larger.
        text = re.sub(r"^(!\[[^\]]*\]\(([^()\s]+)\))$", r"[\1](\2)", text, flags=re.MULTILINE)
        text = re.sub("\1(\\d+)\1", lambda span: spans[int(span[1])], text)
        return re.sub("\0(\\d+)\0", lambda line: code[int(line[1])], text)

    # ---- Writing --------------------------------------------------------------------------------------------------------

    def write(self, page: str, text: str) -> None:
        path = self.target / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def write_page(self, page: str, file: str, text: str) -> None:
        """A page that shows `text`, which stands in `file`."""
        self.write(page, as_mkdocs_reads_it(self.linked(text, file, page)))

    def write_all(self) -> None:
        for file in sorted((self.source / "docs").rglob("*")):
            if file.is_file() and file.suffix != ".md":
                copy = self.target / file.relative_to(self.source / "docs")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
        shutil.copytree(self.source / "site" / "assets", self.target / "assets")
        for file, page in self.page_of.items():
            self.write_page(page, file, self.text[file])
        self.write_front()
        self.write_adapters()
        self.write_many_threads()

    def write_front(self) -> None:
        """What the library does and for whom, in one screen: the beginning of the README, and its section on that."""
        readme = self.text["README.md"]
        beginning = sections(readme)[0][2].split("\n```")[0]
        first_code = re.search(r"\n```cpp\n.*?\n```\n", readme, re.DOTALL)[0]
        question = "Is it for me?"
        whom = part(readme, question).split("\n", 1)[1]
        text = f"{beginning}\n## {question}\n{whom}\n## In a program\n{first_code}"
        self.write_page("index.md", "README.md", text)
        page = self.target / "index.md"
        page.write_text("---\nhide: [toc]\n---\n\n" + page.read_text())  # which leaves more room for it

    def write_many_threads(self) -> None:
        """What stands in several places of the interface and of the measurements, for the one task."""
        page = "many-threads.md"
        texts = ["# Many threads\n"]
        for file, heading, levels in [("docs/api.md", "`SharedIndex<I, S = FileStorage>`", 0),
                                      ("docs/api.md", "Several threads", 1),
                                      ("docs/api.md", "Several processes", 1),
                                      ("docs/api.md", "After a fork", 1),
                                      ("docs/performance.md", "Many threads", 0)]:
            text = raised(part(self.text[file], heading), levels)
            if file == "docs/performance.md":
                text = text.replace("## Many threads", "## How fast it is", 1)
            texts.append(self.linked(text, file, page))
        self.write(page, as_mkdocs_reads_it("\n".join(texts)))

    # ---- The adapters, a page for each library ---------------------------------------------------------------------------

    LIBRARIES = {"hnswlib": r"hnswlib|Hnsw[A-Z]", "faiss": r"[Ff]aiss", "usearch": r"[Uu]search"}
    # What is not for somebody who comes with one of these libraries, and what does not hold for one of them.
    NOT_FOR_USERS = ["Databases of the Rust crate `iqdb`", "Write an adapter"]
    NOT_FOR = {"faiss": ["When to compact"], "hnswlib": [], "usearch": []}

    def write_adapters(self) -> None:
        file = "docs/adapters.md"
        for library in self.LIBRARIES:
            text = self.text[file]
            for heading in self.NOT_FOR_USERS + self.NOT_FOR[library]:
                text = text.replace(part(text, heading), "")
            page = f"adapters-{library}.md"
            self.write_page(page, file, f"# You use {library}\n\n" + self.of_library(text, library))

    def of_library(self, text: str, library: str) -> str:
        """The text less all that speaks of another library alone: sections, paragraphs, tables, their rows, points of lists. The
        section of this library stands behind the first."""

        def named(block: str) -> list:
            return [name for name, pattern in self.LIBRARIES.items() if re.search(pattern, block)]

        def of_another(block: str) -> bool:
            return bool(named(block)) and library not in named(block)

        kept = []
        left_out = 0  # the level of the section that is left out
        own, in_own = [], False  # the section of this library
        for level, heading, section in sections(text):
            if left_out and level > left_out:
                continue
            left_out = 0
            if level == 1:
                section = section.split("\n", 1)[1]  # the page has a title of its own
            # What a program's build says of one library, it says of each.
            section = re.sub(r"```cmake\n.*?```\n", lambda block: block[0].replace("hnswlib", library), section, flags=re.DOTALL)
            if level > 1 and (of_another(heading) or of_another(section)):
                left_out = level
                continue
            result = ""
            for block in paragraphs(section):
                if block.startswith("Contents: ") or of_another(block) and not block.startswith("|"):
                    continue
                if block.startswith("|"):
                    rows = block.splitlines()
                    if of_another(rows[0]):
                        continue
                    if not named(rows[0]):
                        block = "\n".join(rows[:2] + [row for row in rows[2:] if not of_another(row)])
                is_point = re.match(r"[-*] ", block) and re.search(r"\n[-*] [^\n]*(\n  [^\n]*)*\n$", "\n" + result)
                result += ("" if is_point or not result else "\n") + block + "\n"
            in_own = heading == library or in_own and level > 2
            (own if in_own else kept).append(result)
        return "\n".join(kept[:2] + own + kept[2:])


def paragraphs(section: str) -> list:
    """The paragraphs, tables, blocks of code and points of lists of a section."""
    found = [[]]
    for line, is_code in blocks(section):
        begins_point = not is_code and re.match(r"^([-*]|\d+\.) ", line)
        if (not line.strip() and not is_code) or begins_point:
            found.append([])
        if line.strip() or is_code:
            found[-1].append(line)
    joined = []
    for lines in found:
        if lines and joined and lines[0].startswith("  "):
            joined[-1] += "\n\n" + "\n".join(lines)  # belongs to the point before
        elif lines:
            joined.append("\n".join(lines))
    return joined
