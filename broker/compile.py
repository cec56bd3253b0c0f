"""The build hook that compiles the broker's hot modules with mypyc into the wheel; run only where it is asked for (see CONTRIBUTING.md).

The sources go into the wheel as they are: Python prefers the compiled module beside them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Compile(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # there the sources are to count
            return
        from mypyc.build import mypycify
        from setuptools import Distribution

        folder = Path(self.root, "build", "compile")
        shutil.rmtree(folder, ignore_errors=True)
        plain = {file for pattern in self.config["plain"] for file in Path().glob(pattern)}
        modules = sorted(str(file) for pattern in self.config["modules"] for file in Path().glob(pattern) if file not in plain)
        cache = ["--cache-dir", str(folder / "cache")]
        extensions = mypycify([*cache, *modules], opt_level="2", debug_level="0", group_name="nolag_broker", target_dir=str(folder / "c"))
        command: Any = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "objects")
        command.ensure_finalized()
        command.run()
        library = folder / "lib"
        build_data["force_include"].update({str(file): str(file.relative_to(library)) for file in library.rglob("*.*") if file.is_file()})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
