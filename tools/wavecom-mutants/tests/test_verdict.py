"""What a run is judged by, on mutants that are made up."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from wavecom_mutants.plan import Group, Known, Limits, Plan, Rule
from wavecom_mutants.verdict import Mutant, Verdict, chosen, judge

ONE, TWO = Path("src/one.py"), Path("src/two.py")
LIMITS = Limits(killed_percent=90, seed=1, per_module=10, total_s=60)


def a_mutant(number: int, *, module: Path = ONE, killed: bool | None = True) -> Mutant:
    return Mutant(f"m{number:03}", module, f"f{number // 10}", f"x = {number}", f"x = {number + 1}", killed)


def a_plan(*known: Known, rules: tuple[Rule, ...] = ()) -> Plan:
    return Plan(LIMITS, [], [Group("g", [ONE, TWO], [])], rules, known)


def known(mutant: Mutant) -> Known:
    return Known(mutant.module, mutant.function, mutant.was, mutant.becomes, "why")


def judged(plan: Plan, *mutants: Mutant, wanted: int | None = None) -> Verdict:
    return judge(plan, mutants, wanted=len(mutants) if wanted is None else wanted)


def test_a_module_is_judged_by_how_many_of_its_mutants_were_killed() -> None:
    verdict = judged(a_plan(), *[a_mutant(number, killed=number > 1) for number in range(10)], a_mutant(0, module=TWO))
    one, two = verdict.modules
    assert (one.made, one.tried, one.killed, one.allowed, len(one.survived), one.percent) == (10, 10, 8, 0, 2, 80)
    assert (two.made, two.percent) == (1, 100)
    assert verdict.failures(80) == []
    assert verdict.failures(90) == ["src/one.py: 80 % killed, 90 % are asked for"]


def test_what_may_live_counts_neither_way() -> None:
    living = [a_mutant(number, killed=False) for number in range(5)]
    verdict = judged(a_plan(*map(known, living)), *living, a_mutant(7))
    [one, _] = verdict.modules
    assert (one.allowed, one.survived, one.percent, verdict.failures(100)) == (5, [], 100, [])


def test_a_rule_lets_live_what_it_names() -> None:
    rule = Rule(re.compile("^x = 1$"), re.compile("2"), "why")
    verdict = judged(a_plan(rules=(rule,)), a_mutant(1, killed=False), a_mutant(2, killed=False))
    [one, _] = verdict.modules
    assert (one.allowed, [mutant.name for mutant in one.survived]) == (1, ["m002"])


@pytest.mark.parametrize("gone", ["killed", "changed"])
def test_what_may_live_and_does_not_fails_the_run(gone: str) -> None:
    mutant = a_mutant(1)
    listed = known(mutant) if gone == "killed" else known(replace(mutant, was="y = 1"))
    [failure] = judged(a_plan(listed), mutant).failures(0)
    assert "is not there any more, or is killed" in failure
    assert str(listed) in failure


def test_what_may_live_and_was_not_tried_is_no_failure() -> None:
    mutant = a_mutant(1, killed=None)
    verdict = judged(a_plan(known(mutant)), mutant)
    assert (verdict.failures(0), verdict.not_tried) == ([], 1)


def test_what_was_not_tried_is_counted() -> None:
    verdict = judged(a_plan(), a_mutant(1), a_mutant(2, killed=None), a_mutant(3, killed=None), wanted=2)
    assert (verdict.modules[0].made, verdict.modules[0].tried, verdict.not_tried) == (3, 1, 1)


def test_the_choice_is_the_same_every_time_and_has_each_function_s_first_and_what_may_live() -> None:
    mutants = [a_mutant(number, killed=None) for number in range(100)]
    listed = known(mutants[42])
    choice = chosen(mutants, [listed], most=20, seed=1)
    assert len(choice) == len(set(choice)) == 20
    assert choice == chosen(mutants, [listed], most=20, seed=1)
    assert choice != chosen(mutants, [listed], most=20, seed=2)
    assert {*mutants[::10], mutants[42]} <= set(choice)
    # All of those, also where they are more than the others would be.
    assert len(chosen(mutants, [listed], most=3, seed=1)) == 11
    assert len(chosen(mutants, [], most=1_000, seed=1)) == 100
