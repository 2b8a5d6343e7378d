"""The one extraction of answers: what counts as stated, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.evals.answers import extract_answer, extract_code

FINAL = [
    (r"so \boxed{42}. Done in 3 steps", "42"),
    (r"\boxed{1} no, \boxed{2}", "2"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    ("we get 5\n#### 1,234", "1,234"),
    ("#### 3\n#### 4", "4"),
    ("The answer is 18.", "18"),
    ("The final answer is $\\frac{3}{4}$.", r"\frac{3}{4}"),
    ("**Final Answer:** 7", "7"),
    ("**Answer**: 7", "7"),
    ("Answer: 3.5 kg. It was hard.", "3.5 kg"),
    ("The answer to the question is 12 apples.", "12 apples"),
    ("answer = 9", "9"),
    ("The answer would be \\(x^2\\), as shown.", "x^2"),
    (r"#### 11,\! 111", r"11,\! 111"),
    (r"The answer is 3, but \boxed{4}", "4"),
    (r"\boxed{} The answer is 4.", "4"),  # an empty box states nothing
    ("Solution: we add 3 and 4", None),
    ("The result is 3. Next we double it.", None),
    ("The final result is 6.", "6"),
    ("Answer: 7", "7"),
    ("**Answer:** First she has 3 and 4, which is 7 in all. " + "Then she doubles what she has. " * 3, None),
    ("Answer: first 3 and 4. " + "Then she doubles. " * 9 + "The answer is 14.", "14"),
    ("I would have to guess.", None),
    ("12 + 13 = 25", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "answer"), FINAL)
def test_final(text, answer):
    assert extract_answer(text, "final") == answer


@pytest.mark.parametrize(
    ("text", "number", "last_number"),
    [
        ("The answer is 5. I checked 3 times.", "5", "3"),
        (r"\boxed{5} in 3 steps", "5", "5"),
        ("12 and then 13", "13", "13"),
        ("#### 1,200 dollars\n\nUsing 3 facts.", "1,200", "3"),
        ("He has \\boxed{\\$1,450,000}", "1,450,000", "1,450,000"),
        ("nothing", None, None),
        (r"\boxed{none} of 4", None, None),
        ("The answer is twice that: 2 * 9 = 18", "18", "18"),
        ("The answer is what they have together.\n\n4 + 5 = 9", "9", "9"),
        ("#### many, not 4", "4", "4"),
        ("4\n#### many", "4", "4"),
        ("#### Step 1\na\nb\n#### Step 2\nc\nd\nso 9", "9", "9"),
        ("#### Step 1\n3 + 4\nThe answer is 7.", "7", "7"),
        ("The answer is 3? No.\n#### 4", "4", "4"),
        ("Answer: She has 3 and 4. " + "Then she buys some more of them. " * 4 + "That is 12 now.", "12", "12"),
    ],
)
def test_numbers_with_and_without_a_statement(text, number, last_number):
    assert extract_answer(text, "number") == number
    assert extract_answer(text, "last_number") == last_number


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (r"\boxed{C}", "C"),
        (r"\boxed{\text{C}}", "C"),
        (r"\boxed{(C)}", "C"),
        (r"\boxed{C. 42 apples}", "C"),
        (r"\boxed{C: a thing}", "C"),
        (r"\boxed{\textbf{(b)}}", "B"),
        (r"\boxed{\text{Option D}}", "D"),
        ("The answer is (A).", "A"),
        ("The correct answer is B, since it fits.", "B"),
        ("Answer: D", "D"),
        ("**Answer: B**", "B"),
        ("#### A", "A"),
        ("It is not B.\n\nC.", "C"),
        ("C", "C"),
        ("The answer is a dog", None),
        ("A dog is an animal", None),
        (r"\boxed{E}", None),
        (r"\boxed{Cat}", None),
        (r"\boxed{42}", None),
        ("maybe A or B", None),
    ],
)
def test_letter(text, letter):
    assert extract_answer(text, "letter") == letter


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\ndef f():\n    return 1\n```", "def f():\n    return 1\n"),
        ("```py\nx\n```\nthen\n```python\ndef f(): pass\n```\nand\n```\nf()\n```", "def f(): pass\n"),
        ("```python\na = 1\n```\n```python\nb = 2\n```", "b = 2\n"),
        ("```python\ndef f():\n    return", "def f():\n    return"),
        ("```\ndef f(): pass\n```", "def f(): pass\n"),
        ("  ```python\n  def f(): pass\n  ```", "  def f(): pass\n"),
        ("def f(): pass", None),
        ("", None),
    ],
)
def test_code(text, code):
    assert extract_code(text, "f") == code


@given(st.text(max_size=200), st.sampled_from(["boxed", "final", "number", "last_number", "letter"]))
def test_any_text_has_an_answer_or_none(text, kind):
    answer = extract_answer(text, kind)
    assert answer is None or isinstance(answer, str)


@given(st.text(st.characters(exclude_characters="{}\\"), min_size=1).filter(lambda s: s.strip() == s and s))
def test_what_is_boxed_last_is_the_answer_whatever_stands_around(inside):
    assert extract_answer(f"The answer is 3. #### 4 \\boxed{{5}} \\boxed{{{inside}}} so 6", "final") == inside
