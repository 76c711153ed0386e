"""The tools that check the documents, and the site that is made of them."""

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_sentence_of_more_than_forty_words_is_named_with_its_line() -> None:
    check = tool("check_prose")
    page = f"# Title\n\nShort. Short. Also short. Word {'word ' * 40}end.\n\nAnother.\n"
    (fault,) = check.faults("page.md", page)
    assert fault.startswith("page.md:3: 42 words")


def test_a_page_of_long_sentences_breaks_the_mean() -> None:
    check = tool("check_prose")
    (fault,) = check.faults("page.md", f"{'word ' * 24}end. {'Word ' * 22}end.\n")
    assert "24.0 words a sentence on average" in fault


def test_code_formulas_headings_and_comments_are_no_prose() -> None:
    check = tool("check_prose")
    long = "word " * 60
    page = (
        f"# {long}\n\n```text\n{long}\n```\n\n    {long}\n    {long}\n\n<!-- {long} -->\n\nEnd.\n"
    )
    assert [sentence.text for sentence in check.sentences(page)] == ["End."]


def test_list_items_and_cells_are_sentences_of_their_own() -> None:
    check = tool("check_prose")
    page = (
        "Two things:\n\n* one `a b c` [link text](https://x.y)\n* two\n\n| a cell | "
        + "w " * 41
        + "|\n"
    )
    found = check.sentences(page)
    assert [sentence.words for sentence in found] == [2, 4, 1, 2, 41]
    assert [sentence.in_table for sentence in found] == [False, False, False, True, True]
    assert len(check.faults("page.md", page)) == 1


def test_abbreviations_end_no_sentence() -> None:
    check = tool("check_prose")
    assert len(check.sentences("Huang et al. 2024 say so (Eq. 12), e.g. Here it ends. Next.")) == 2


def test_dead_links_are_found_to_files_and_to_headings(tmp_path: Path) -> None:
    check = tool("check_links")
    other = tmp_path / "other.md"
    other.write_text("# A title, `code` & more\n\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#a-title-code--more) [c](gone.md) [d](other.md#no-heading)\n"
        "[e](https://example.org/gone) [f](#here) `[g](gone_too.md)`\n## Here\n"
    )
    assert check.dead_links(page, tmp_path) == [
        "page.md: no such file: gone.md",
        "page.md: other.md has no heading for #no-heading",
    ]


def test_names_paths_and_commands_that_are_not_there_are_found(tmp_path: Path) -> None:
    check = tool("check_links")
    (tmp_path / "pyproject.toml").write_text('ottc-train = "x:main"\n')
    (tmp_path / "espnet_ottc" / "ops").mkdir(parents=True)
    (tmp_path / "espnet_ottc" / "__init__.py").write_text("")
    (tmp_path / "espnet_ottc" / "ops" / "loss.py").write_text("def ottc_loss(): ...\n")
    page = tmp_path / "page.md"
    page.write_text(
        "`espnet_ottc.ops.loss`, espnet_ottc.ops.loss.ottc_loss, `espnet_ottc.gone`,\n"
        "espnet_ottc.ops.loss.gone, `espnet_ottc/ops/loss.py`, `espnet_ottc/*/loss.py`,\n"
        "`tools/gone.py`, ottc_gone, `ottc-train`, `ottc-gone`\n"
    )
    assert check.dead_names(page, tmp_path) == [
        "page.md: no such command: ottc-gone",
        "page.md: no such file: tools/gone.py",
        "page.md: no such name: espnet_ottc.gone",
        "page.md: no such name: espnet_ottc.ops.loss.gone",
    ]


def test_python_of_the_page_on_the_loss_runs() -> None:
    page = (ROOT / "docs" / "howto" / "pytorch.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert "found" in names


@pytest.fixture
def site() -> ModuleType:
    pytest.importorskip("mkdocs")
    return tool("site_pages")


def test_every_public_module_has_a_page_in_the_navigation(site: ModuleType) -> None:
    from mkdocs.config.defaults import MkDocsConfig

    config = MkDocsConfig()
    config.nav = [{"Reference": []}]

    def leaves(entry: object) -> list[str]:
        if isinstance(entry, dict):
            return [leaf for value in entry.values() for leaf in leaves(value)]
        return (
            [leaf for item in entry for leaf in leaves(item)]
            if isinstance(entry, list)
            else [str(entry)]
        )

    pages = leaves(site.on_config(config).nav)
    expected = {
        path.relative_to(ROOT).with_suffix("")
        for path in (ROOT / "espnet_ottc").rglob("*.py")
        if not any(
            part.startswith("_") and part != "__init__" for part in path.with_suffix("").parts
        )
    }
    assert len(expected) > 80
    for path in expected:
        name = ".".join(path.parts).removesuffix(".__init__")
        assert site.page_of(name) in pages


def test_a_commands_page_has_the_options_of_its_parser(site: ModuleType) -> None:
    page = site.command_page("ottc-score-words", "espnet_ottc.bin.score_words")
    assert "| `--ref` `REF` |" in page
    assert "`--ignore_case`" in page


def test_the_page_of_criteria_has_every_option_with_its_default(site: ModuleType) -> None:
    from espnet_ottc.espnet.criteria.options import OPTIONS, describe_options

    page = site.criteria_page()
    for ctc_type, kind in OPTIONS.items():
        section = page.partition(f"## ctc_type: {ctc_type}\n")[2].partition("\n## ")[0]
        for name, default, _ in describe_options(kind):
            shown = "null" if default is None else default
            assert f"| `{name}` | `{shown}` |" in section


def test_commands_within_commands_and_recipes_have_their_options(site: ModuleType) -> None:
    page = site.command_page("ottc-prepare", "espnet_ottc.bin.prepare_corpus")
    assert "## ottc-prepare cuts" in page.partition("## ottc-prepare manifests")[2]
    recipes = site.recipe_page()
    assert recipes.count("| `--stop_stage` `STOP_STAGE` |") == 1
    assert "`--timit`" in recipes.partition("## timit: what is different")[2]


def test_links_that_leave_the_documents_lead_to_the_sites_pages(site: ModuleType) -> None:
    text = "[a](docs/demo.md#x) [b](docs/decisions/index.md) [c](egs2/TEMPLATE/ottc.sh) [d](https://x.y)"
    assert site.relinked(text, "README.md", "index.md") == (
        "[a](demo.md#x) [b](decisions/index.md) egs [d](https://x.y)".replace("egs", "c")
    )
    image = "![words](docs/assets/alignment.png)"
    assert site.relinked(image, "README.md", "index.md") == "![words](assets/alignment.png)"
    assert (
        site.relinked("[r](../../README.md)", "docs/howto/x.md", "howto/x.md") == "[r](../index.md)"
    )


def test_names_that_pages_give_are_in_their_modules() -> None:
    """As in: `name` of `espnet_ottc.module`."""
    given = re.compile(r"`(\w+)(?:\([^`]*\))?` (?:of|in|from) `(espnet_ottc[.\w]*)`")
    count = 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for name, module in given.findall(page.read_text(encoding="utf-8")):
            place = ROOT.joinpath(*module.split("."))
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            assert file.is_file(), f"{page.name}: there is no {module}"
            top = ast.parse(file.read_text(encoding="utf-8")).body
            assert name in _names(top), f"{page.name}: {module} has no {name}"
            count += 1
    assert count


def _names(statements: list[ast.stmt]) -> set[str]:
    found = set()
    for one in statements:
        if isinstance(one, ast.FunctionDef | ast.ClassDef):
            found.add(one.name)
        elif isinstance(one, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in one.names}
        elif isinstance(one, ast.Assign):
            found |= {target.id for target in one.targets if isinstance(target, ast.Name)}
        elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            found.add(one.target.id)
    return found
