"""The recipe for Conan 2: `conan create packaging/conan` in a clone, and `requires = "iqdb-persist/0.2.0"` in a program."""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, load
from conan.tools.layout import basic_layout

required_conan_version = ">=2.0"


class IqdbPersistConan(ConanFile):
    name = "iqdb-persist"
    description = "Durable storage for any in-memory vector index: atomic, checksummed snapshots and a write-ahead log"
    license = "MIT OR Apache-2.0"
    topics = ("vector-search", "persistence", "write-ahead-log", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "zstd": [True, False],
        "lz4": [True, False],
        "isal": [True, False],
        "s3": [True, False],
        # Link to the system's libraries of these names, and require no packages.
        "system_libraries": [True, False],
    }
    default_options = {"zstd": True, "lz4": True, "isal": False, "s3": False, "system_libraries": False}
    no_copy_source = True

    # Option, package with its versions, and what the system calls its libraries.
    _LIBRARIES = (
        (None, "zlib/[>=1.2.11 <2]", ("z",)),
        ("zstd", "zstd/[>=1.5 <2]", ("zstd",)),
        ("lz4", "lz4/[>=1.9 <2]", ("lz4",)),
        ("isal", "isa-l/[>=2.30 <3]", ("isal",)),
        ("s3", "libcurl/[>=7.78 <9]", ("curl",)),
        ("s3", "openssl/[>=1.1 <4]", ("crypto",)),
    )

    @property
    def _clone(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._clone, "include", "iqdb", "persist", "version.hpp"))
        parts = re.findall(r"^#define IQDB_PERSIST_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header, re.MULTILINE)
        self.version = self.version or ".".join(parts)

    def export_sources(self):
        for pattern in ("include/*", "LICENSE-*"):
            copy(self, pattern, src=self._clone, dst=self.export_sources_folder)

    def layout(self):
        basic_layout(self)

    def _used(self):
        for option, package, libraries in self._LIBRARIES:
            if option is None or self.options.get_safe(option):
                yield option, package, libraries

    def requirements(self):
        if not self.options.system_libraries:
            for _, package, _ in self._used():
                self.requires(package, transitive_headers=True, transitive_libs=True)

    def package_id(self):
        # The files are the same, whatever the options say.
        self.info.clear()

    def validate(self):
        check_min_cppstd(self, 20)

    def package(self):
        copy(self, "LICENSE-*", src=self.export_sources_folder, dst=os.path.join(self.package_folder, "licenses"))
        copy(self, "*.hpp", src=os.path.join(self.export_sources_folder, "include"), dst=os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "iqdb-persist")
        persist = self.cpp_info.components["persist"]
        persist.set_property("cmake_target_name", "iqdb::persist")
        persist.set_property("pkg_config_name", "iqdb-persist")
        persist.bindirs = []
        persist.libdirs = []
        persist.defines = [f"IQDB_PERSIST_HAS_{name.upper()}={int(bool(self.options.get_safe(name)))}" for name in ("zstd", "lz4", "isal")]
        persist.system_libs = ["pthread"]
        components = [persist]
        if self.options.s3:
            s3 = self.cpp_info.components["s3"]
            s3.set_property("cmake_target_name", "iqdb::s3")
            s3.bindirs = []
            s3.libdirs = []
            s3.requires = ["persist"]
            components.append(s3)
        for option, package, libraries in self._used():
            component = components[-1] if option == "s3" else persist
            if self.options.system_libraries:
                component.system_libs.extend(libraries)
            else:
                name = package.split("/")[0]
                component.requires.append(f"{name}::{name}")
