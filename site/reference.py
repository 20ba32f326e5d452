"""The pages of the API: each public name that the pages for users name, with its docstring, made of Doxygen's XML.

Which names: those in `docs/api.md`, `docs/adapters.md` and `docs/object-store.md`, and of the test kit those in `docs/testing.md`
above its list of all names. A paragraph that says that its names are internal does not count. A name or a member of one that has no
docstring is an error."""

import collections
import functools
import pathlib
import re
import xml.etree.ElementTree as ElementTree

from pages import anchor, sections

PAGES_FOR_USERS = ["docs/api.md", "docs/adapters.md", "docs/object-store.md"]
PAGE_OF_THE_TEST_KIT = "docs/testing.md"
FOLDER = "reference"

# The pages: title, file, and which headers' names they have. The first that fits counts.
GROUPS = [
    ("Databases", "databases", r"persist/(persisted_index|shared_\w+|follower|write_batch)\.hpp"
     r"|snapshot/snapshot\.hpp|wal/(history\w*|backup\w*|load_or_create|recovery_report|read_only)\.hpp"),
    ("Settings and events", "settings", r"persist/(config|events|stats|version|progress)\.hpp"
     r"|codec/|storage/(file_storage|file_system|direct_mode)\.hpp"),
    ("Errors", "errors", r"error\.hpp"),
    ("Your own index", "own-index", r"iqdb/(index|insert_many|insert_overloads|search_overloads|explain_index)\.hpp"
     r"|persist/persistable\.hpp|persist/bytes/|index/support/"),
    ("Indexes", "indexes", r"iqdb/index/"),
    ("Vectors and searches", "vectors", r"^iqdb/\w+\.hpp"),
    ("Object stores", "object-stores", r"object|/s3"),
    ("Files", "files", r"persist/(inspect|salvage/|snapshot/|storage/|index_path|history_paths)|wal/(log_|wal_|mutation)"),
    ("Test kit", "testing", r"persist/testing/"),
    ("Further names", "further", r""),
]

# Classes that stand for one thing of several: their members without a docstring are those that every such thing has.
MODELS = {
    "ObjectStorage": ("Storage", "building-blocks.md#storage-what-a-store-does"),
    "SimulatedFileSystem": ("FileSystem", "building-blocks.md#filesystem-one-function-for-each-system-call"),
}

# A member of `RecoveryReport` on the pages, and a constant of the format in the headers.
NOT_MEANT = {"log_version"}

OPERATOR = re.compile(r"^(operator\b|~)")


class Undocumented(Exception):
    """Public names without a docstring."""


# ---- Docstrings -----------------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text in which Markdown sees nothing but text."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", text)


def code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


class Names:
    """Where each name is documented, for links: by its name, and by class and member."""

    def __init__(self):
        self.places = {}  # name: (page, anchor)

    def add(self, name: str, page: str, anchor: str) -> None:
        self.places.setdefault(name, (page, anchor))

    def link(self, text: str, page: str, inside: str) -> str:
        """`text`, a piece of code, with a link if it is a name. `inside` is the class whose docstring it is."""
        name = re.sub(r"\(.*\)$", "", text).removeprefix("iqdb::").removeprefix("testing::")
        for known in [f"{inside}::{name}", name]:
            if known in self.places and known != inside:
                to, anchor = self.places[known]
                return f"[{code(text)}]({'' if to == page else to}#{anchor})"
        return code(text)

    def in_text(self, text: str, page: str, inside: str) -> str:
        """Text in which the names of types and calls are code, with links."""
        out, end = [], 0
        for word in re.finditer(r"\b(?:[A-Za-z_]\w*::)*[A-Za-z_]\w*(?:\(\))?", text):
            plain = word[0].removesuffix("()")
            known = "::" in plain or plain.removeprefix("iqdb::") in self.places or f"{inside}::{plain}" in self.places
            speaks_of_code = word[0].endswith("()") or "::" in plain or "_" in plain or re.match(r"^([A-Z][a-z0-9]+){2,}$", plain)
            if not speaks_of_code or not (known or word[0].endswith("()") or "_" in plain):
                continue
            out += [escaped(text[end:word.start()]), self.link(word[0], page, inside)]
            end = word.end()
        return "".join(out) + escaped(text[end:])


class Docstring:
    """The docstring of an element, as Markdown."""

    def __init__(self, element, names: Names, page: str, inside: str):
        self.names, self.page, self.inside = names, page, inside
        # What is called as a member is called is no member there.
        self.parameters = {parameter.findtext("declname") for parameter in element.findall("param")}
        self.blocks = []
        for part in ("briefdescription", "detaileddescription"):
            described = element.find(part)
            for child in described if described is not None else []:
                if child.tag == "para":
                    self.paragraph(child)

    def paragraph(self, para, prefix: str = "") -> None:
        text = self.names.in_text(para.text or "", self.page, self.inside)
        for child in para:
            if child.tag == "verbatim":
                self.add(prefix + text)
                self.blocks.append("```cpp\n" + (child.text or "").strip("\n") + "\n```")
                text = ""
            elif child.tag in ("itemizedlist", "orderedlist"):
                self.add(prefix + text)
                text = ""
                for item in child:
                    for inner in item:
                        self.paragraph(inner, "- ")
            elif child.tag == "computeroutput":
                span = "".join(child.itertext())
                text += code(span) if span in self.parameters else self.names.link(span, self.page, self.inside)
            elif child.tag == "ulink":
                text += f"[{escaped(''.join(child.itertext()))}]({child.get('url')})"
            elif child.tag in ("emphasis", "bold"):
                text += f"*{escaped(''.join(child.itertext()))}*"
            else:
                text += self.names.in_text("".join(child.itertext()), self.page, self.inside)
            text += self.names.in_text(child.tail or "", self.page, self.inside)
        self.add(prefix + text)

    def add(self, text: str) -> None:
        text = " ".join(text.split())
        if text not in ("", "-"):
            # What it throws is what a reader looks for.
            self.blocks.append(re.sub(r"\b(Throws|(?<=[Ii]t )throws|(?<=Also )throws)\b", r"**\1**", text))

    def __str__(self) -> str:
        return "\n\n".join(self.blocks)

    def in_a_cell(self) -> str:
        return "<br>".join(block for block in self.blocks if not block.startswith("```"))


def is_documented(element) -> bool:
    return any("".join(part.itertext()).strip() for part in element
               if part.tag in ("briefdescription", "detaileddescription"))


# ---- Declarations ---------------------------------------------------------------------------------------------------------


def text_of(element) -> str:
    return "".join(element.itertext()).strip() if element is not None else ""


def place_of(element) -> tuple:
    """The header and the line of a declaration."""
    location = element.find("location")
    return location.get("file"), int(location.get("line"))


def tidy(text: str) -> str:
    """Doxygen's spaces as the headers have them."""
    text = re.sub(r"< (?=\S)", "<", text)
    text = re.sub(r"(?<=\S) >", ">", text)
    text = re.sub(r" ([&*]+) ?(?=\w)", r"\1 ", text)
    text = re.sub(r" ([&*]+)(?=[)>,\s]|$)", r"\1", text)
    text = re.sub(r" +([),>])", r"\1", text)
    text = re.sub(r"(?<=[\w)]) ?= ?(?=[\w{\"'-])", " = ", text)
    return re.sub(r"  +", " ", text).strip()


def unqualified(text: str) -> str:
    """A definition without the name of the class in front of that of the member."""
    depth = 0
    begin = len(text)
    while begin > 0 and (depth or text[begin - 1] != " "):
        begin -= 1
        depth += {">": 1, "<": -1}.get(text[begin], 0)
    return text[:begin] + text[begin:].rpartition("::")[2]


def template_of(element) -> str:
    parameters = []
    for parameter in element.findall("templateparamlist/param"):
        parts = [text_of(parameter.find("type")), text_of(parameter.find("declname"))]
        default = text_of(parameter.find("defval"))
        parameters.append(" ".join(part for part in parts if part) + (f" = {default}" if default else ""))
    if not parameters and element.find("templateparamlist") is None:
        return ""
    line = tidy("template <" + ", ".join(parameters) + ">") + "\n"
    clause = text_of(element.find("requiresclause"))
    return line + (f"  requires {' '.join(clause.split())}\n" if clause else "")


def wrapped(signature: str, width: int = 92) -> str:
    """A long declaration with a parameter a line."""
    if len(signature) <= width or "(" not in signature:
        return signature
    begin = signature.index("(")
    depth, pieces, piece = 0, [], ""
    for position, character in enumerate(signature[begin + 1:], begin + 1):
        if character in "(<{[":
            depth += 1
        elif character in ")>}]":
            depth -= 1
            if depth < 0:
                break
        if character == "," and depth == 0:
            pieces.append(piece.strip() + ",")
            piece = ""
        else:
            piece += character
    pieces.append(piece.strip())
    return signature[:begin + 1] + "\n    " + "\n    ".join(pieces) + signature[position:]


def declaration(member) -> str:
    """A function or a value, as one writes it in a class."""
    text = unqualified(tidy(text_of(member.find("definition"))))
    arguments = tidy(text_of(member.find("argsstring")))
    arguments = re.sub(r"\s*=\s*(default|0)$", "", arguments)
    if member.get("kind") == "variable":
        arguments = "".join(re.findall(r"^\[.*", arguments))
        value = text_of(member.find("initializer"))
        if value and len(value) < 60 and "\n" not in value:
            arguments += ("" if value.startswith("{") else " ") + tidy(value)
    clause = text_of(member.find("requiresclause")) if member.find("templateparamlist") is None else ""
    return template_of(member) + wrapped(text + arguments) + (f"\n  requires {' '.join(clause.split())}" if clause else "")


def members(table: str) -> str:
    """A table of members, which site.css knows."""
    return f'<div class="members" markdown="1">\n\n{table}\n\n</div>\n'


class Name:
    """A public name: what Doxygen says of it, and where it is shown."""

    def __init__(self, name: str, element, kind: str, is_testing: bool):
        self.name = name
        self.elements = [element]  # several of overloaded functions, and of a template that is specialised
        self.kind = kind
        self.is_testing = is_testing
        self.header = element.find("location").get("file")
        self.group = next(file for _, file, headers in GROUPS if re.search(headers, self.header))
        self.page = self.group + ".md"
        self.anchor = re.sub(r"\W+", "-", name).strip("-")


# ---- The pages ------------------------------------------------------------------------------------------------------------


class Reference:

    def __init__(self, xml: pathlib.Path, pages):
        self.pages = pages  # pages.Pages
        self.compounds = {}
        for file in sorted(xml.glob("*.xml")):
            if file.name not in ("index.xml", "Doxyfile.xml"):
                for compound in ElementTree.parse(file).getroot().iter("compounddef"):
                    self.compounds[compound.get("id")] = compound
        self.by_name = {}
        for compound in self.compounds.values():
            self.by_name.setdefault(compound.findtext("compoundname").replace(" ", ""), compound)
        self.names = Names()
        self.undocumented = []
        self.public = [name for name in self.all_names() if self.is_named_by_pages(name)]
        self.public.sort(key=self.place_on_pages)

    def all_names(self) -> list:
        found = {}

        def take(name: str, element, kind: str, is_testing: bool) -> None:
            if name in found:
                found[name].elements.append(element)
            else:
                found[name] = Name(name, element, kind, is_testing)

        for compound in self.compounds.values():
            kind, qualified = compound.get("kind"), compound.findtext("compoundname")
            scope, _, name = qualified.split("<")[0].rpartition("::")
            if kind in ("class", "struct", "concept") and scope in ("iqdb", "iqdb::testing"):
                if "<" not in qualified:
                    take(name, compound, kind, scope != "iqdb")
            elif kind == "namespace" and qualified in ("iqdb", "iqdb::testing"):
                for member in compound.iter("memberdef"):
                    if not OPERATOR.match(member.findtext("name")):
                        take(member.findtext("name"), member, member.get("kind"), qualified != "iqdb")
        return list(found.values())

    def is_named_by_pages(self, name: Name) -> bool:
        """Whether it stands as code on a page for users: a function with its parenthesis, in a heading, or in the namespace."""
        text = self.code_on_pages(name.is_testing)
        if name.name in NOT_MEANT:
            return False
        if name.kind == "function":
            is_named = rf"(?<![.\w>:]){name.name}(<[^`(]*>)?\(|(iqdb|testing)::{name.name}\b|^#.*`{name.name}`"
            return bool(re.search(is_named, text, re.MULTILINE))
        return bool(re.search(rf"(?<![.\w]){name.name}\b", text))

    def place_on_pages(self, name: Name) -> tuple:
        """In the order of the pages: by the section that has the name in its heading, or else by the first that names it."""
        found = self.sections_of_pages()
        place = next((number for number, (heading, _) in enumerate(found) if re.search(rf"\b{name.name}\b", heading)), None)
        if place is None:
            as_code = rf"`[^`]*\b{name.name}\b[^`]*`"
            place = next((number for number, (_, text) in enumerate(found) if re.search(as_code, text)), len(found))
        return place, *place_of(name.elements[0])

    @functools.lru_cache
    def sections_of_pages(self) -> list:
        """The headings and texts behind the overview that the interface begins with."""
        found = [section for file in PAGES_FOR_USERS + [PAGE_OF_THE_TEST_KIT] for section in sections(self.pages.text[file])]
        begin = next((number for number, (_, heading, _) in enumerate(found) if "`" in heading), 0)
        return [(heading if level > 1 else "", text) for level, heading, text in found[begin:]]

    @functools.lru_cache
    def code_on_pages(self, is_testing: bool) -> str:
        """The headings, and what stands as code."""
        found = []
        for file in [PAGE_OF_THE_TEST_KIT] if is_testing else PAGES_FOR_USERS:
            text = self.pages.text[file].split("\n## All names\n")[0]
            for paragraph in re.split(r"\n\s*\n", text):
                if not re.search(r"\b[Ii]nternal(ly)?\b", paragraph):
                    found += re.findall(r"^#+ .*`.*", paragraph, re.MULTILINE)
                    found += re.findall(r"`+[^`]+`+", paragraph) + re.findall(r"iqdb::(?:testing::)?\w+", paragraph)
        return "\n".join(found)

    # ---- Members ----------------------------------------------------------------------------------------------------------

    def members(self, compound) -> list:
        """The public members of a class by name, those of bases that are not for users themselves too."""
        found = collections.OrderedDict()
        for base in compound.findall("basecompoundref"):
            if base.get("prot") == "public":
                name = text_of(base).split("<")[0].strip()
                inherited = self.by_name.get(name) or self.by_name.get("iqdb::" + name)
                if inherited is not None and name.removeprefix("iqdb::") not in [public.name for public in self.public]:
                    for group in self.members(inherited):
                        if group[0].findtext("name") != inherited.findtext("compoundname").rpartition("::")[2]:
                            found.setdefault(group[0].findtext("name"), []).extend(group)
        own = collections.OrderedDict()
        for member in sorted(compound.findall("sectiondef/memberdef"), key=place_of):
            name = member.findtext("name")
            if member.get("prot") == "public" and member.get("kind") != "friend" and not OPERATOR.match(name):
                if not re.search(r"=\s*delete", text_of(member.find("argsstring"))):
                    own.setdefault(name, []).append(member)
        for name, group in found.items():
            own.setdefault(name, group)
        # What is copied or moved needs no word.
        class_name = compound.findtext("compoundname").split("<")[0].rpartition("::")[2]
        copies = re.compile(r"^\((const )?" + class_name + r"(<.*>)? ?&&?( ?\w+)?\)")
        is_model = bool(set(re.split(r"::|<.*", compound.findtext("compoundname"))) & set(MODELS))
        result = []
        for name, group in own.items():
            if name == class_name:
                group = [one for one in group if is_documented(one) or not (
                    copies.match(tidy(text_of(one.find("argsstring")))) or tidy(text_of(one.find("argsstring"))).startswith("()"))]
            if is_model and not any(is_documented(one) for one in group):
                continue
            if group:
                result.append(group)
        return result

    @staticmethod
    def fields_of(groups: list) -> list:
        """The members of what has values and types alone; nothing for another class."""
        fields = [group for group in groups if group[0].get("kind") == "variable" and group[0].get("static") == "no"]
        others = [group for group in groups if group not in fields]
        return [] if any(group[0].get("kind") not in ("enum", "typedef") for group in others) else fields

    def require(self, documented: bool, what: str, element) -> None:
        if not documented:
            file, line = place_of(element)
            self.undocumented.append(f"{file}:{line}: {what}")

    # ---- Writing ----------------------------------------------------------------------------------------------------------

    def place_names(self) -> None:
        for name in self.public:
            self.names.add(name.name, name.page, name.anchor)
            if name.kind in ("class", "struct"):
                for compound in name.elements:
                    for group in self.members(compound):
                        member = group[0].findtext("name")
                        self.names.add(f"{name.name}::{member}", name.page, f"{name.anchor}-{member}")
                    for inner in compound.findall("innerclass"):
                        if inner.get("prot") == "public":
                            member = text_of(inner).rpartition("::")[2]
                            self.names.add(f"{name.name}::{member}", name.page, f"{name.anchor}-{member}")
            elif name.kind == "enum":
                for value in name.elements[0].findall("enumvalue"):
                    self.names.add(f"{name.name}::{value.findtext('name')}", name.page, name.anchor)

    def doc(self, element, name: Name) -> Docstring:
        return Docstring(element, self.names, name.page, name.name)

    def enum_table(self, enum, name: Name, what: str) -> str:
        values = enum.findall("enumvalue")
        says_all = is_documented(enum) and not any(is_documented(value) for value in values)
        if says_all:
            return "Values: " + ", ".join(code(value.findtext("name")) for value in values) + "\n"
        rows = ["| value | meaning |", "| --- | --- |"]
        for value in values:
            self.require(is_documented(value), f"{what}::{value.findtext('name')}", enum)
            rows.append(f"| {code(value.findtext('name'))} | {self.doc(value, name).in_a_cell()} |")
        return members("\n".join(rows))

    def field_table(self, groups: list, name: Name, what: str) -> str:
        rows = ["| member | meaning |", "| --- | --- |"]
        for group in groups:
            field = group[0]
            self.require(is_documented(field), f"{what}::{field.findtext('name')}", field)
            shown = " ".join(declaration(field).split()).replace("|", "\\|")
            anchor = f"{name.anchor}-{field.findtext('name')}" if what == name.name else ""
            rows.append(f"| {code(shown)}{f'{{ #{anchor} }}' if anchor else ''} | {self.doc(field, name).in_a_cell()} |")
        return members("\n".join(rows))

    def function(self, group: list, name: Name, what: str) -> str:
        """The declarations of a name, each with what its docstring says. One without says the same as that before."""
        self.require(any(is_documented(one) for one in group), what, group[0])
        parts = []  # declarations, and what says what they do
        for one in group:
            if parts and (not is_documented(one) or not is_documented(parts[-1][1])):
                parts[-1] = (parts[-1][0] + [declaration(one)], one if is_documented(one) else parts[-1][1])
            else:
                parts.append(([declaration(one)], one))
        return "\n".join("```cpp\n" + "\n".join(shown) + f"\n```\n\n{self.doc(one, name)}\n" for shown, one in parts)

    def class_text(self, compound, name: Name, what: str, level: str) -> str:
        kind = compound.get("kind")
        bases = ["public " + tidy(text_of(base)).removeprefix("iqdb::") for base in compound.findall("basecompoundref")
                 if base.get("prot") == "public"]
        bases = [base for base in bases if re.split(r"[<:]", base.removeprefix("public "))[0] in
                 [public.name for public in self.public] or base.startswith("public std::")]
        head = template_of(compound) + f"{kind} {what.rpartition('::')[2]}" + (" : " + ", ".join(bases) if bases else "")
        parts = [f"```cpp\n{head}\n```\n", str(self.doc(compound, name)) + "\n"]
        self.require(is_documented(compound), what, compound)
        if what in MODELS:
            concept, place = MODELS[what]
            parts.append(f"It is a [`{concept}`](../{place}), and has what each of them has.\n")
        groups = self.members(compound)
        fields = self.fields_of(groups)
        if fields:
            parts.append(self.field_table(fields, name, what))
            groups = [group for group in groups if group not in fields]
        for inner in compound.findall("innerclass"):
            if inner.get("prot") == "public":
                inner_name = text_of(inner).rpartition("::")[2]
                parts.append(f"{level} `{inner_name}` {{ #{name.anchor}-{inner_name} }}\n")
                parts.append(self.class_text(self.compounds[inner.get("refid")], name, f"{what}::{inner_name}", level + "#"))
        for group in groups:
            member = group[0].findtext("name")
            anchor = f" {{ #{name.anchor}-{member} }}" if what == name.name else ""
            parts.append(f"{level} `{member}`{anchor}\n")
            parts.append(self.any(group, name, f"{what}::{member}"))
        return "\n".join(parts)

    def any(self, group: list, name: Name, what: str) -> str:
        """A function, a value, an enumeration or an alias."""
        one, kind = group[0], group[0].get("kind")
        if kind == "enum":
            self.require(is_documented(one), what, one)
            head = f"```cpp\nenum class {one.findtext('name')}\n```\n\n"
            return head + f"{self.doc(one, name)}\n\n" + self.enum_table(one, name, what)
        if kind == "typedef":
            self.require(is_documented(one), what, one)
            alias = tidy(text_of(one.find("definition")).replace("iqdb::testing::", "").replace("iqdb::", ""))
            alias = re.sub(r"^using (\w+::)+(?=\w+ =)", "using ", alias)
            return f"```cpp\n{template_of(one)}{alias}\n```\n\n{self.doc(one, name)}\n"
        return self.function(group, name, what)

    def concept_text(self, concept, name: Name) -> str:
        self.require(is_documented(concept), name.name, concept)
        lines = text_of(concept.find("initializer"))
        lines = re.sub(r"^template<(.*)>\s*concept ", r"template <\1>\nconcept ", lines).replace("iqdb::", "")
        lines = re.sub(r"\) ?&& ?\(", ") && (", lines.replace("=  ", "= "))
        return f"```cpp\n{lines.strip()}\n```\n\n{self.doc(concept, name)}\n"

    def described_in(self, name: Name) -> str:
        """A link to the section of a page that has the name in its heading."""
        for file in PAGES_FOR_USERS + [PAGE_OF_THE_TEST_KIT]:
            found = sections(self.pages.text[file])
            for level, heading, _ in found:
                if level > 1 and re.search(rf"`[^`]*\b{name.name}\b[^`]*`|^{name.name}$", heading):
                    return f" · [described in: {found[0][1]}](../{self.pages.page_of[file]}#{anchor(heading)})"
        return ""

    def write(self) -> None:
        self.place_names()
        texts = {file: [] for _, file, _ in GROUPS}
        for name in self.public:
            page = f"{FOLDER}/{name.page}"
            lines = [f"## `{name.name}` {{ #{name.anchor} }}\n"]
            about = f"[`<{name.header}>`]({self.pages.source_link('include/' + name.header, page)})"
            lines.append(f"{about}{self.described_in(name)}\n{{ .header }}\n")
            if name.kind in ("class", "struct"):
                for compound in name.elements:
                    lines.append(self.class_text(compound, name, name.name, "###"))
            elif name.kind == "concept":
                lines.append(self.concept_text(name.elements[0], name))
            else:
                lines.append(self.any(sorted(name.elements, key=place_of), name, name.name))
            texts[name.group].append("\n".join(lines))
        if self.undocumented:
            raise Undocumented("public names without a docstring:\n  " + "\n  ".join(self.undocumented))
        index = ["# API: all names\n",
                 "Each public name that [the interface](../api.md), [the adapters](../adapters.md), [the object "
                 "store](../object-store.md) and [the test kit](../testing.md) name, with the docstring of its header. The names of "
                 "the layers below are on [a page of their own](../building-blocks.md).\n"]
        navigation = ["- All names: reference/index.md"]
        for title, file, _ in GROUPS:
            if texts[file]:
                self.pages.write(f"{FOLDER}/{file}.md", f"# {title}\n\n" + "\n".join(texts[file]))
                navigation.append(f"- {title}: {FOLDER}/{file}.md")
                index.append(f"## {title}\n\n| name | what it is |\n| --- | --- |")
                for name in sorted((name for name in self.public if name.group == file), key=lambda name: name.name.lower()):
                    first = Docstring(name.elements[0], self.names, "index.md", name.name).in_a_cell().split("<br>")[0]
                    first = re.split(r"(?<=[.:]) ", first)[0]
                    index.append(f"| [{code(name.name)}]({name.page}#{name.anchor}) | {first} |")
                index.append("")
        self.pages.write(f"{FOLDER}/index.md", "\n".join(index))
        self.pages.write(f"{FOLDER}/navigation.yml", "\n".join(navigation) + "\n")
