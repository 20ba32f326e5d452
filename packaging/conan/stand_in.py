#!/usr/bin/env python3
"""Runs the recipe's own steps without Conan: what it calls of Conan stands here as a few short classes.

    stand_in.py WORK [OPTION=VALUE]...

The package is then in WORK/package, and the flags for a compiler are printed. It shows that the recipe's methods do what they are
meant to, and nothing about Conan itself.
"""

from __future__ import annotations

import fnmatch
import pathlib
import runpy
import shutil
import sys
import types

RECIPE = pathlib.Path(__file__).resolve().with_name("conanfile.py")


class Options(dict):
    def __getattr__(self, name):
        return self[name]

    def get_safe(self, name):
        return self.get(name)


class Component:
    def __init__(self):
        self.properties, self.defines, self.requires, self.system_libs = {}, [], [], []
        self.includedirs, self.libdirs, self.bindirs = ["include"], ["lib"], ["bin"]

    def set_property(self, name, value):
        self.properties[name] = value


class Components(dict):
    def __missing__(self, name):
        self[name] = Component()
        return self[name]


class ConanFile:
    version = None

    def __init__(self, work, chosen):
        self.recipe_folder = str(RECIPE.parent)
        self.export_sources_folder = str(work / "sources")
        self.package_folder = str(work / "package")
        self.options = Options({**self.default_options, **chosen})
        self.cpp_info = Component()
        self.cpp_info.components = Components()
        self.info = types.SimpleNamespace(clear=lambda: None)
        self.required = []

    def requires(self, reference, **traits):
        self.required.append(reference)


def copy(conanfile, pattern, src, dst):
    """A pattern holds for the whole path below `src`, and its asterisk for folders, too."""
    source = pathlib.Path(src)
    for path in sorted(source.rglob("*")):
        name = str(path.relative_to(source))
        if fnmatch.fnmatch(name, pattern) and path.is_file():
            target = pathlib.Path(dst) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def module(name, **names):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(names)


def main() -> None:
    work = pathlib.Path(sys.argv[1]).resolve()
    chosen = {name: value == "True" for name, value in (argument.split("=") for argument in sys.argv[2:])}
    module("conan", ConanFile=ConanFile)
    module("conan.tools")
    module("conan.tools.build", check_min_cppstd=lambda conanfile, version: None)
    module("conan.tools.files", copy=copy, load=lambda conanfile, path: pathlib.Path(path).read_text(encoding="utf-8"))
    module("conan.tools.layout", basic_layout=lambda conanfile: None)
    recipe = runpy.run_path(str(RECIPE))["IqdbPersistConan"](work, chosen)
    if unknown := set(chosen) - set(recipe.options):
        sys.exit(f"the recipe has no option {unknown}")
    for step in ("set_version", "export_sources", "layout", "requirements", "validate", "package", "package_id", "package_info"):
        getattr(recipe, step)()

    flags = ["-I" + str(work / "package" / "include")]
    for component in recipe.cpp_info.components.values():
        flags += [f"-D{define}" for define in component.defines] + [f"-l{library}" for library in component.system_libs]
        # What a component requires of a package, the recipe has required.
        names = {reference.split("/")[0] for reference in recipe.required}
        for requirement in component.requires:
            name = requirement.split("::")[0]
            assert name in (names if "::" in requirement else recipe.cpp_info.components), requirement
    print(recipe.version, " ".join(flags))
    print("requires", *recipe.required)


if __name__ == "__main__":
    main()
