"""What pyproject.toml cannot say: the C kernels, and the recipes as data of the package."""

import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError, LinkError

OPENMP = "-fopenmp"
# Of a recipe's folder; what its runs leave there (data, exp, ...) is not of the package.
RECIPE_FILES = ("*.sh", "*.md", "conf/**/*.yaml", "local/**/*")


class BuildKernel(build_ext):
    """Builds a plain shared library: it is loaded through ctypes and uses nothing of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        return f"{fullname.replace('.', '/')}.so"

    def get_libraries(self, ext: Extension) -> list[str]:
        # Not libpython, which setuptools adds where Python itself is a shared library.
        return list(ext.libraries)

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except (CompileError, LinkError):
            # Apple's compiler has no OpenMP; one thread is still far faster than none of it.
            for arguments in (ext.extra_compile_args, ext.extra_link_args):
                arguments.remove(OPENMP)
            super().build_extension(ext)


class BuildPackage(build_py):
    """Copies the recipes from egs2/ to espnet_ottc/recipe/egs2 of the distribution."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for recipe in sorted(Path("egs2").iterdir()):
            for pattern in RECIPE_FILES:
                for path in filter(Path.is_file, recipe.glob(pattern)):
                    target = Path(self.build_lib, "espnet_ottc", "recipe", path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target)


class Wheel(bdist_wheel):
    """One wheel of a platform serves all versions of Python; without a kernel, one serves all platforms."""

    def get_tag(self) -> tuple[str, str, str]:
        kernels = Path(self.get_finalized_command("build_ext").build_lib).rglob("_*_cpu.so")
        if not any(kernels):
            self.root_is_pure = True
            return ("py3", "none", "any")
        return ("py3", "none", super().get_tag()[2])


setup(
    # Where no compiler is found the build goes on without them, and plain PyTorch does the work.
    ext_modules=[
        Extension(
            f"espnet_ottc.ops.kernels._{name}",
            sources=[f"espnet_ottc/ops/kernels/{name}.c"],
            depends=["espnet_ottc/ops/kernels/fast_math.h"],
            extra_compile_args=["-O3", OPENMP, "-fno-math-errno", "-fno-trapping-math"],
            extra_link_args=[OPENMP, "-lm"],
            optional=True,
        )
        for name in ("ottc_cpu", "chains_cpu", "band_cpu")
    ],
    cmdclass={"bdist_wheel": Wheel, "build_ext": BuildKernel, "build_py": BuildPackage},
)
