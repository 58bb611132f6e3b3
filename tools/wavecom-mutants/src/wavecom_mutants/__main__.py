"""`python -m wavecom_mutants [--all] [ONLY]`: try mutants, and say which of them no test saw.

ONLY is a group of the plan, or a module by the end of its path. Of a single module all mutants are tried, of more a
choice, the same every time.
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from wavecom_stack.errors import StackError
from wavecom_stack.folder import RunFolder
from wavecom_stack.infra import MANAGEMENT_URL, MONGODB_URL, RABBITMQ_URL
from wavecom_stack.stack import Stack

from wavecom_mutants import plan as plans
from wavecom_mutants.plan import ROOT, Plan, PlanError
from wavecom_mutants.running import Deadline, Runner
from wavecom_mutants.verdict import Mutant, Verdict, judge


def main(arguments: Sequence[str]) -> int:
    """Run it; the exit status is 1 when too many mutants live, or when it could not be run."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("only", nargs="?", help="a group, or the end of a module's path, as in kernel/batcher.py")
    parser.add_argument("--all", action="store_true", help="all mutants, however long that takes")
    asked = parser.parse_args(arguments)
    # Ended, it ends what it started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        plan = plans.read()
        if asked.only:
            plan = plan.only(asked.only)
        verdict = _run(plan, whole=asked.all or sum(len(group.modules) for group in plan.groups) == 1)
    except (PlanError, StackError) as error:
        print(error, file=sys.stderr)
        return 1
    return _report(plan, verdict)


def _run(plan: Plan, *, whole: bool) -> Verdict:
    folder = ROOT / ".run" / "mutants"
    mutants: list[Mutant] = []
    wanted = 0
    with _servers(plan) as environment:
        runner = Runner(plan, folder, environment, Deadline(float("inf") if whole else plan.limits.total_s))
        for group in plan.groups:
            print(f"{group.name}: {len(group.modules)} modules ...", flush=True)
            tried, meant = runner.run(group, per_module=None if whole else plan.limits.per_module)
            mutants += tried
            wanted += meant
    return judge(plan, mutants, wanted=wanted)


@contextmanager
def _servers(plan: Plan) -> Iterator[Mapping[str, str]]:
    """The environment of the tests: with a broker and a database where some of them need those."""
    # Told that it is a machine's run, hypothesis tries the same examples every time.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"CI": "true", "PATH": path}
    if not any(group.servers for group in plan.groups):
        yield environment
        return
    stack = Stack(RunFolder(ROOT / ".run" / f"mutants-{os.getpid()}"), os.environ, print)
    try:
        infra = stack.start_infra()
        urls = {RABBITMQ_URL: infra.broker_url, MONGODB_URL: infra.mongodb_url}
        yield environment | urls | ({MANAGEMENT_URL: infra.management_url} if infra.management_url else {})
    finally:
        stack.stop()
        shutil.rmtree(stack.folder.root, ignore_errors=True)


def _report(plan: Plan, verdict: Verdict) -> int:
    print(f"\n{'module':<72} {'made':>5} {'tried':>5} {'killed':>6} {'may live':>8} {'survived':>8} {'killed':>7}")
    for one in verdict.modules:
        counts = f"{one.made:>5} {one.tried:>5} {one.killed:>6} {one.allowed:>8} {len(one.survived):>8}"
        print(f"{one.module!s:<72} {counts} {one.percent:>5.0f} %")
    for one in verdict.modules:
        for mutant in one.survived:
            print(f"survived: {mutant}")
    if verdict.not_tried:
        print(f"The time was over: {verdict.not_tried} mutants were not tried.")
    failures = verdict.failures(plan.limits.killed_percent)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
