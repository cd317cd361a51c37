"""Every rule of test_style.py lets a good chapter pass, and sees what breaks it."""

import re

import nbformat
import pytest
from test_style import (
    MAX_CODE_LINES,
    RULES,
    cells_are_short,
    claims_are_checked,
    ends_as_it_should,
    exercises_can_be_tried,
    exports_are_documented,
    figures_are_described,
    imports_stand_alone,
    lines_fit,
    names_are_the_fields,
    opens_with_title,
    prose_stands_between,
    prose_weighs_as_much,
    tags_are_known,
    unsolved,
)

CHAPTER = [
    """# Halving

> Halve a number and see why it works · 减半

How small does a number get if it is halved again and again? This chapter needs no earlier one,
only the four operations, and by its end you will have a function that answers.""",
    "#| hide\n#| default_exp halving",
    "#| export\nimport math",
    """## Half

To halve is to multiply by one half, which is exact for floating-point numbers unless they are
already the smallest that there are: the exponent goes down by one, the digits stay. That is why
nothing is lost on the way, and why the result of many halvings can be compared with a power of two
without a tolerance. Few operations on a computer are as kind as that, so enjoy it while it lasts.
In @fig-half look at how quickly the values approach zero.""",
    '''#| export
class Halver:
    """Divides, y = x / 2ⁿ.

    - forward: x, any number → y, a float
    """

    def __init__(
        self,
        times: int,  # how often to halve
    ):
        self.times = times

    def forward(self, x):
        return math.ldexp(x, -self.times)''',
    "assert Halver(3).forward(8) == 1",
    "The picture shows the first five values, and each is half as high as the one before it.",
    """#| label: fig-half
#| fig-cap: "Halving."
#| fig-alt: "Five points that fall towards zero."
fig, ax = plt.subplots()
ax.plot([1 / 2**n for n in range(5)]);""",
    """## Summary

- Halving is exact.
- It converges to zero.
- Powers of two need no tolerance.

::: {.callout-note collapse="true" title="中文要点"}
减半是精确的运算。指数减一，尾数不变。结果趋于零。
:::

## Exercises

Each checker answers by itself.""",
    "#| hide\nfrom dlbook.exercises.halving import check_a, check_b, check_c",
    "**Exercise 1 (predict).** What is half of one, and half of that, and so on for ever?",
    "def a(): ...\n\n\ncheck_a(a)",
    "**Exercise 2 (build).** Double a number by the same means as above.",
    "def b():\n    ...  # return a number\n\n\ncheck_b(b)",
    "**Exercise 3 (build).** Halve a list of numbers, without a loop of your own.",
    "def c():\n    ...\n\n\ncheck_c(c)",
    "## References\n\n- A. Author (1999). On halves.",
]
SOLUTIONS = [
    "#| hide\n#| default_exp exercises.halving",
    "#| export\ndef check_a(f): ...",
    "#| export\ndef check_b(f): ...\n\n\ndef check_c(f): ...",
    'assert check_a(1) == check_b(1) == check_c(1) == "correct"\n'
    "wrong = [check_a(2), check_b(2), check_c(2)]\n"
    'assert all(verdict.startswith("not yet") for verdict in wrong)',
]


def notebook_of(sources):
    markdown = re.compile(r"# |## |> |\*\*Exercise|The picture")
    new = nbformat.v4.new_notebook()
    for source in sources:
        make = (
            nbformat.v4.new_markdown_cell if markdown.match(source) else nbformat.v4.new_code_cell
        )
        new.cells.append(make(source))
    return new


def replaced(sources, old, new):
    changed = [source.replace(old, new) for source in sources]
    assert changed != sources, f"{old!r} is not there to be replaced"
    return notebook_of(source for source in changed if source)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_chapter_passes(rule):
    assert list(rule(notebook_of(CHAPTER))) == []


OPENING = CHAPTER[0].split("\n\n")[-1]
LONG = "assert True\n" * (MAX_CODE_LINES + 1)
SHOWN = "assert Halver(3).forward(8) == 1"
PICTURE = "The picture shows the first five values, and each is half as high as the one before it."
FAULTS = [
    (opens_with_title, "# Halving\n\n", "Halving\n\n"),
    (opens_with_title, " · 减半", ""),
    (opens_with_title, OPENING, "How?"),
    (cells_are_short, SHOWN, LONG),
    (lines_fit, SHOWN, SHOWN + " == 1" * 15),
    (prose_stands_between, PICTURE, ""),
    (imports_stand_alone, SHOWN, "import os\n" + SHOWN),
    (imports_stand_alone, "import math", "from math import *"),
    (figures_are_described, "#| label: fig-half\n", ""),
    (figures_are_described, '#| fig-cap: "Halving."\n', ""),
    (figures_are_described, '"Five points that fall towards zero."', '""'),
    (figures_are_described, "@fig-half", "the picture"),
    (figures_are_described, "ax.plot(", "plt.show(); ax.plot("),
    (ends_as_it_should, "## Summary", "## The end"),
    (ends_as_it_should, "- Halving is exact.\n", ""),
    (ends_as_it_should, "中文要点", "summary"),
    (ends_as_it_should, "结果趋于零。", ""),
    (ends_as_it_should, 'collapse="true" ', ""),
    (ends_as_it_should, "(1999)", ""),
    (exercises_can_be_tried, "Exercise 3", "Exercise 4"),
    (exercises_can_be_tried, "(predict)", "(explore)"),
    (exercises_can_be_tried, "(predict)", "(guess)"),
    (exercises_can_be_tried, "check_b(b)", "b()"),
    (exercises_can_be_tried, "    ...  # return a number", "    return 2"),
    (names_are_the_fields, SHOWN, "tmp = 1"),
    (names_are_the_fields, SHOWN, "total_cost = 1"),
    (names_are_the_fields, "class Halver", "class DenseHalver"),
    (names_are_the_fields, SHOWN, "f(err=1)"),
    (claims_are_checked, SHOWN, "Halver(3).forward(8)"),
    (prose_weighs_as_much, SHOWN, "\n".join([SHOWN] * 60)),
    (prose_weighs_as_much, PICTURE, PICTURE * 20),
    (exports_are_documented, "x / 2ⁿ.", "x / 2ⁿ"),
    (exports_are_documented, "    - forward: x", "    forward: x"),
    (exports_are_documented, "times: int,  # how often to halve", "times: int,"),
    (exports_are_documented, "times: int,  # how", "times,  # how"),
]


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    FAULTS,
    ids=[f"{rule.__name__}-{i}" for i, (rule, *_) in enumerate(FAULTS)],
)
def test_a_fault_is_seen(rule, old, new):
    assert list(rule(replaced(CHAPTER, old, new)))


@pytest.mark.parametrize("tag", ["raises-exeption", "GPU", "tol=1", "tol=0.5", "row-1", "row-1.1 "])
def test_an_unknown_tag_is_seen(tag):
    notebook = notebook_of(CHAPTER)
    assert list(tags_are_known(notebook)) == []
    notebook.cells[-1].metadata["tags"] = ["row-1.1", "tol=0.05", tag]
    assert len(list(tags_are_known(notebook))) == 1


def test_every_rule_has_a_fault():
    assert {rule for rule, *_ in FAULTS} | {tags_are_known} == set(RULES)


def test_good_solutions_pass():
    assert list(unsolved(notebook_of(CHAPTER), notebook_of(SOLUTIONS))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("exercises.halving", "exercises.other"),
        ("def check_b", "def b"),
        ("check_b(1) == ", ""),
        ("check_b(2), ", ""),
        ("not yet", "correct"),
    ],
)
def test_missing_solution_is_seen(old, new):
    assert list(unsolved(notebook_of(CHAPTER), replaced(SOLUTIONS, old, new)))
