# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""What the documents name exists: verbs and their options, make targets, links, files, tests."""

import inspect
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from importlib import import_module
from pathlib import Path

import pytest

from m3vit.hls.headers import CONFIG_HEADER
from m3vit.model.config import MODELS, config_from_dict, load_config
from m3vit.scripts.cli import find_verbs

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOLDERS = ("docs", "hls", "model", "rtl", "scripts", "sim", "src", "tests")
"""A path in backquotes that starts with one of these is a file of the repository."""
PLACEHOLDERS = ("NAME", "VERB")
"""In paths that stand for many."""
SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {
    "regs": "Registers",
    "sequencer": "and sequencer",
    "program": "Program and check",
    "loader": "Loader",
    "executor": "Executor",
    "dma_read": "DMA read",
    "dma_write": "DMA write",
    "stream": "Weight stream",
    "weight_feeder": "Weight feeder",
    "patches": "Patches",
    "layer_norm": "LayerNorm",
    "buffers": "kv",
    "mac_array": "MAC array",
    "attention": "Attention",
    "accumulator": "Accumulators",
    "requant": "Requantisation",
    "gelu": "GELU",
    "router": "Router",
    "queue_builder": "Queue builder",
    "residual": "Residual buffer, int16",
}
"""Modules of the accelerator, and the headings of their boxes in its drawing; `buffers` has three boxes."""
NOT_DRAWN = {"counters", "expert_cache", "expert_set", "read_check", "row_issuer", "fifo", "delay", "ram"}
"""Modules without a box: what only watches, guards or stores between two boxes."""
WITH_BLOCKS = ("core", "datapath", "linear_engine", "routing")
"""Modules whose instances are the drawing's blocks."""

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code(text: str) -> str:
    """Everything in backquotes and code blocks, one piece per line."""
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, re.S | re.M)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    return "\n".join([*fenced, *inline])


def options(verb: str) -> set[str]:
    """Long options of a verb, `--out` for a parameter `out`."""
    name = verb.replace("-", "_")
    function = getattr(import_module(f"m3vit.scripts.{name}"), name)
    return {"--" + parameter.replace("_", "-") for parameter in inspect.signature(function).parameters} | {"--help"}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def test_there_are_pages() -> None:
    names = {page.name for page in PAGES}
    assert names >= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "architecture.md", "numbers.md", "report.md"}


@by_page
def test_verbs_and_their_options_exist(page: Path) -> None:
    verbs = find_verbs(ROOT / "scripts")
    for verb, rest in re.findall(r"\bm3vit ([a-zA-Z][\w-]*)([^\n|;]*)", code(page.read_text())):
        if verb == "VERB":
            continue
        assert verb in verbs, f"{page.name} names `m3vit {verb}`"
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in options(verb), f"{page.name} names `m3vit {verb} {option}`"


def test_the_readme_lists_every_verb_and_no_other() -> None:
    rows = re.findall(r"^\| `m3vit ([\w-]+)` \|", (ROOT / "README.md").read_text(), re.M)
    assert sorted(rows) == sorted(find_verbs(ROOT / "scripts"))


@by_page
def test_make_targets_exist(page: Path) -> None:
    targets = re.findall(r"^make ([a-z]+)\b", code(page.read_text()), re.M)
    assert set(targets) <= make_targets(), page.name


def test_make_help_and_phony_cover_the_targets() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (help .*)$", text, re.M)
    assert phony is not None
    assert set(phony[1].split()) == make_targets()
    assert set(re.findall(r"^([a-z]+):.*## \S", text, re.M)) == make_targets()


@by_page
def test_relative_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", path):
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, target


@by_page
def test_named_files_exist(page: Path) -> None:
    for path in re.findall(rf"(?<![\w/.-])((?:{'|'.join(FOLDERS)})/[\w./-]*)", code(page.read_text())):
        if not any(word in path for word in PLACEHOLDERS):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


@by_page
def test_named_modules_and_models_exist(page: Path) -> None:
    known = {
        path.stem for folder in ("rtl", "sim/tb", "hls/kernels", "hls/tb") for path in (ROOT / folder).iterdir()
    } | set(MODELS)
    known.add(Path(CONFIG_HEADER).stem)  # written for each design
    for name in re.findall(r"(?<![\w/])(m3vit_[a-z0-9_]+)", code(page.read_text())):
        assert name in known, f"{page.name} names {name}"


def test_the_readme_config_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    path = tmp_path / "config.toml"
    path.write_text(example)
    config = load_config(path)
    tree = tomllib.loads(example)
    assert config.train.steps == tree["train"]["steps"]
    assert config_from_dict(config.model_dump(), "again") == config


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "images").glob("*.svg")), ids=lambda path: path.name)
def test_drawings_are_complete_and_self_contained(picture: Path) -> None:
    text = picture.read_text()
    root = ElementTree.fromstring(text)
    assert root.find(f"{SVG}title") is not None
    assert "prefers-color-scheme: dark" in text
    assert not re.findall(r"(?:href|src)=\"(?!#)|@import|url\((?!#)", text)


def instances(module: str) -> set[str]:
    """Names of the modules that a module instantiates, without their prefix."""
    text = (ROOT / "rtl" / f"m3vit_{module}.sv").read_text()
    return set(re.findall(r"^ +m3vit_(\w+) (?:#\(|u_)", text, re.M))


def test_the_architecture_drawing_shows_the_accelerator() -> None:
    root = ElementTree.parse(ROOT / "docs" / "images" / "architecture.svg").getroot()
    texts = {text.text or "": text.get("class") for text in root.iter(f"{SVG}text")}
    headings = {text for text, kind in texts.items() if kind == "h"}
    blocks = set().union(*map(instances, WITH_BLOCKS)) - set(WITH_BLOCKS)
    assert blocks - NOT_DRAWN == set(DRAWN), "a block is drawn, or it is in NOT_DRAWN"
    spine = {"PyTorch M3ViT", "Pathway", "golden", "RTL", "verify", "project", "report"}
    missing = {*DRAWN.values(), *spine, "x", "h", "Route table", "Token queues", "DRAM", "Host driver"} - headings
    assert not missing, f"the drawing has no box for {sorted(missing)}"
    described = " ".join([*texts, root.findtext(f"{SVG}title", ""), root.findtext(f"{SVG}desc", "")])
    assert "MoE layer" not in described, "the accelerator runs whole programs"
