"""Ways in which a model writes an answer, and answers that look right and are not."""

import re


def math_forms(gold, other):
    """Ten texts that give ``gold``; ``other`` is a different answer, for the forms that mention one."""
    number = re.fullmatch(r"-?\d+(\.\d+)?", gold)
    loose = gold.replace("\\frac{", "\\dfrac{").replace("(", "\\left(").replace(")", "\\right)")
    if "\\left" in gold or re.search(r"\([^)]*\]|\[[^]]*\)", gold):
        loose = gold.replace("\\frac{", "\\dfrac{")
    return {
        "boxed": f"\\boxed{{{gold}}}",
        "sentence": f"Adding both gives the total, so the answer is $\\boxed{{{gold}}}$.",
        "nested braces": f"Hence \\boxed{{{{{gold}}}}}.",
        "other fractions and brackets": f"\\[\\boxed{{\\displaystyle {loose} }}\\]",
        "units": f"\\boxed{{{gold}\\text{{ units}}}}" if number else f"\\boxed{{${gold}$}}",
        "text after": f"\\boxed{{{gold}}}\n\nI tried 3 other ways and all 7 checks agree.",
        "several boxes": f"At first \\boxed{{{other}}}, but that forgets a case. Now \\boxed{{{gold}}}",
        "hashes": f"So we are done.\n#### {gold}",
        "the answer is": f"Working backwards from {other} fails. The final answer is ${gold}$.",
        "heading": f"Both cases agree.\n\n**Final Answer:** \\({gold}\\)",
    }


def number_forms(gold, other):
    """Ten texts that give the number ``gold``."""
    commas = f"{int(gold):,}"
    return {
        "boxed": f"\\boxed{{{gold}}}",
        "sentence": f"Together they have $\\boxed{{{gold}}}$ marbles.",
        "nested braces": f"\\boxed{{{{{gold}}}}}",
        "commas": f"That makes \\boxed{{{commas}}} in all.",
        "units": f"\\boxed{{{gold} \\text{{ apples}}}}",
        "currency": f"He pays \\boxed{{\\${commas}.00}}",
        "several boxes": f"First \\boxed{{{other}}}; with the rest it is \\boxed{{{gold}}}. It took 2 steps.",
        "hashes": f"10 - 4 = 6\n#### {commas}",
        "the answer is": f"3 and {other} were wrong. The answer is {commas} dollars.",
        "last number": f"She starts with 12 of {other}.\nIn the end she has {gold}",
    }


def choice_forms(gold, other, choices):
    """Ten texts that give the letter ``gold``."""
    text = choices["ABCD".index(gold)]
    return {
        "boxed": f"\\boxed{{{gold}}}",
        "sentence": f"Thus {other} is impossible and we choose $\\boxed{{{gold}}}$.",
        "text command": f"\\boxed{{\\text{{{gold}}}}}",
        "brackets": f"\\boxed{{({gold})}}",
        "with the choice": f"\\boxed{{{gold}. {text}}}" if balanced(text) else f"\\boxed{{{gold}.}}",
        "several boxes": f"\\boxed{{{other}}}? No: \\boxed{{{gold}}}, since A and D exclude each other.",
        "hashes": f"#### {gold}",
        "the answer is": f"A careful look rules out {other}. The answer is ({gold}).",
        "heading": f"**Answer: {gold}**",
        "last line": f"So it cannot be {other}.\n\n{gold}.",
    }


def balanced(text):
    depth = 0
    for i, char in enumerate(text):
        if char == "\\" and text[i + 1 : i + 2] in ("{", "}"):
            return False
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def perturbed(gold):
    """An answer near ``gold`` that is not it."""
    digits = list(re.finditer(r"\d", re.split(r"\\(?:mbox|text)\{", gold)[0]))  # not the exponent of a unit
    if digits:
        at = digits[-1].start()
        return gold[:at] + str((int(gold[at]) + 1) % 10) + gold[at + 1 :]
    if re.fullmatch(r"\\text\{.*\}", gold):
        return "\\text{(A)}" if gold != "\\text{(A)}" and "(" in gold else "\\text{never}"
    return gold + " + 1" if not gold.endswith((")", "]")) else gold[:-1] + "+1" + gold[-1]
