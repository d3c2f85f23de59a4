"""The workflows on GitHub can't be made to run or to publish what is not in the repository."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}
JOBS = {f"{name}/{job}": content for name, workflow in WORKFLOWS.items()
        for job, content in workflow["jobs"].items()}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}


def test_only_the_job_that_deploys_may_write_and_it_runs_no_code_of_the_repository():
    writing = {name: job for name, job in JOBS.items() if "permissions" in job}
    assert list(writing) == ["pages/deploy"]
    deploy = writing["pages/deploy"]
    assert deploy["permissions"] == {"pages": "write", "id-token": "write"}
    assert [step["uses"].split("@")[0] for step in deploy["steps"]] == ["actions/deploy-pages"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_commit_with_its_version_beside_it(path):
    lines = re.findall(r"uses:.*", path.read_text(encoding="utf-8"))
    assert lines
    for line in lines:
        assert re.fullmatch(r"uses: actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("name", JOBS)
def test_a_checkout_keeps_no_token_and_no_command_contains_what_others_wrote(name):
    for step in JOBS[name]["steps"]:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("name", JOBS)
def test_every_package_is_installed_by_its_hash(name):
    runs = [step["run"] for step in JOBS[name]["steps"] if "run" in step]
    with_hashes = "sh tools/install_hashed.sh"
    if any(run.startswith("make") for run in runs):
        assert runs[0] == with_hashes
    script = (ROOT / "tools" / "install_hashed.sh").read_text(encoding="utf-8")
    installs = [line for line in "\n".join([script, *runs]).splitlines() if "pip install" in line]
    assert installs
    with_hashes = "--require-hashes --only-binary :all: -r .hashes.txt"
    for line in installs:
        assert with_hashes in line or "--no-index" in line, line


def test_the_hashes_are_those_of_the_constraints():
    text = (ROOT / ".hashes.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line.split(" --hash=") for line in text.splitlines() if not line.startswith("#")]
    for _, *hashes in entries:
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one.strip()) for one in hashes)
    hashed = {str(Requirement(pin.strip())) for pin, *_ in entries}
    constraints = {str(Requirement(line)) for line in
                   (ROOT / ".constraints.txt").read_text(encoding="utf-8").splitlines()
                   if not line.startswith("#")}
    assert {pin.split("==")[0] for pin in hashed - constraints} == {"editables"}
    assert constraints <= hashed
