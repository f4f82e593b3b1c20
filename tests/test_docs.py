"""What README and the pages show runs, and prints what they say."""

import contextlib
import io
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from jaxeff import train

ROOT = pathlib.Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(page):
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def _run(code):
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<page>", "exec"), names)
    return names, printed.getvalue()


def test_a_count_prints_the_table_that_stands_below_it():
    blocks = _blocks("docs/counting.md")
    ((number, code),) = [
        (i, code) for i, (kind, code) in enumerate(blocks) if kind == "python" and "print" in code
    ]
    _, printed = _run(code)
    assert [line.rstrip() for line in printed.strip().splitlines()] == [
        line.rstrip() for line in blocks[number + 1][1].strip().splitlines()
    ]


def test_the_network_and_the_recipe_of_the_readme_work():
    codes = [code for kind, code in _blocks("README.md") if kind == "python"]
    (network,) = [_run(code)[0]["MyNet"] for code in codes if "class MyNet" in code]
    images = jnp.zeros((2, 16, 16, 3))
    module = network(num_classes=7)
    variables = jax.jit(module.init, static_argnums=2)(jax.random.key(0), images, False)
    assert module.apply(variables, images, False).shape == (2, 7)
    (recipe,) = [_run(code)[0]["recipe"] for code in codes if "def recipe" in code]
    made = train.resolve(recipe, "MyNet", train_examples=320)
    assert made.schedule(10 * made.epochs // 2) > 0


@pytest.mark.parametrize("page", ["docs/tutorial.md", "docs/logging.md"])
def test_the_code_of_a_page_runs(page):
    codes = [code for kind, code in _blocks(page) if kind == "python"]
    assert codes
    for code in codes:
        _run(code)


def test_links_between_pages_lead_somewhere():
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            file, _, anchor = link.partition("#")
            if "://" in link:
                continue
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                assert anchor in _anchors(target), f"{page.name}: {link}"


def _anchors(page):
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
