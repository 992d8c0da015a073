"""What is counted as a sentence."""

import subprocess

import pytest

from bench.sentences import Measured, blocks, measure, page_before, renames, sentence_lengths


@pytest.mark.parametrize(
    ("block", "lengths"),
    [
        ("One two three. Four five.", [3, 2]),
        ("It costs 2.5 s, e.g. in `a. B` and [one two](x.y).", [10]),
        ("No end", [2]),
        ("It ends. `code` begins the next.", [2, 4]),
        ("Asked? **Yes**! (Or not.)", [1, 1, 2]),
    ],
)
def test_sentence_lengths_counts_words_to_the_end(block, lengths):
    assert sentence_lengths(block) == lengths


def test_blocks_paragraphs_items_and_cells_without_code():
    page = "# Title\n\nA line\nand its end.\n\n- one item\n  goes on\n- two\n\n```\ncode. Code.\n```\n\n"
    page += "| a | b |\n|---|---|\n| 0.1 | five words stand in here |\n<!-- hidden. -->\n"
    assert blocks(page) == ["A line and its end.", "one item goes on", "two", "five words stand in here"]


def test_measure_mean_and_longest():
    measured = measure("One two. Three four five six.")
    assert measured == Measured(words=6, sentences=2, longest=4)
    assert measured.mean == 3
    assert measure("").mean == 0


def test_page_before_follows_a_rename(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def git(*arguments):
        settings = ["-c", "user.name=t", "-c", "user.email=t@t"]
        subprocess.run(["git", *settings, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "old.md").write_text("One two three four five six seven.\n")
    git("add", "."), git("commit", "-m", "one")
    git("mv", "old.md", "new.md"), git("commit", "-m", "two")
    git("mv", "new.md", "newest.md"), git("commit", "-m", "three")
    names = renames("HEAD~2")
    assert page_before("HEAD~2", "newest.md", names) == "One two three four five six seven.\n"
    assert page_before("HEAD~2", "other.md", names) is None
