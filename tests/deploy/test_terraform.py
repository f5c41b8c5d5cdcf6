"""
The Terraform files for Azure, with no cloud: a stand-in has the provider's true schema, and makes everything at once.

It takes a minute to build. ``AZURERM_STANDIN=DIR`` keeps it in a folder, and takes it from there the next time.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rerank_server.settings import settings_fields, variable_of

pytestmark = pytest.mark.timeout(600)

CHECKOV = "checkov==3.3.30"
KEY = "a-key-of-enough-characters"
GIVEN = {"TF_VAR_api_keys": KEY, "TF_VAR_image_tag": "abc1234"}
SERVICES = ("container-instance", "container-app")

Terraform = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "deploy" / "terraform" / "azure"


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.tf")))


@pytest.fixture(scope="module")
def terraform() -> str:
    found = shutil.which("terraform")
    if found is None:
        pytest.skip("SKIPPED LOUDLY: terraform is not installed, the files for Azure are not checked")
    return found


@pytest.fixture(scope="session")
def standin(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which terraform finds the stand-in."""
    kit = Path(os.environ.get("RERANK_SHARED", root.parent / "shared")) / "deploy-kit" / "azurerm-standin.sh"
    place = os.environ.get("AZURERM_STANDIN") or str(tmp_path_factory.mktemp("azurerm"))
    settings = Path(place).resolve() / "cli.tfrc"
    if not settings.exists():
        if not kit.exists():
            pytest.skip(f"SKIPPED LOUDLY: the stand-in for azurerm is not at {kit}, nothing is planned")
        built = subprocess.run(["bash", str(kit), place], capture_output=True, text=True, timeout=500, check=False)
        if built.returncode != 0:
            pytest.skip(f"SKIPPED LOUDLY: the stand-in for azurerm could not be built: {built.stderr[-500:]}")
    return {"TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1", "ARM_SUBSCRIPTION_ID": "none"}


@pytest.fixture
def module(folder: Path, tmp_path: Path) -> Path:
    """A copy: what the stand-in leaves behind must not be taken for the provider's own."""
    copy = tmp_path / "azure"
    shutil.copytree(
        folder, copy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars", "*_override.tf")
    )
    shutil.copy(copy / "terraform.tfvars.example", copy / "terraform.tfvars")
    return copy


@pytest.fixture
def run(terraform: str, standin: dict[str, str], module: Path) -> Terraform:
    """Runs terraform in the copy, which is initialised."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [terraform, *arguments],
            env=os.environ | standin | GIVEN, cwd=module,
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    initialised = run("init", "-input=false", "-no-color")
    assert initialised.returncode == 0, initialised.stderr
    return run


def good(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def planned(run: Terraform, service: str) -> dict[str, dict[str, Any]]:
    """What would be made: the values of each resource by its type."""
    good(run("plan", "-input=false", "-no-color", f"-var=service={service}", "-out=all.tfplan"))
    changes = json.loads(good(run("show", "-json", "all.tfplan")))["planned_values"]["root_module"]["resources"]
    return {resource["type"]: resource["values"] for resource in changes}


def environment_of(service: str, plan: dict[str, dict[str, Any]]) -> dict[str, str]:
    if service == "container-instance":
        container = plan["azurerm_container_group"]["container"][0]
        return dict(container["environment_variables"] | container["secure_environment_variables"])
    container = plan["azurerm_container_app"]["template"][0]["container"][0]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_the_files_are_formatted(terraform: str, folder: Path) -> None:
    formatting = [terraform, "fmt", "-check", "-recursive", "-diff", str(folder)]
    ran = subprocess.run(formatting, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stdout


def test_every_argument_and_every_reference_is_one_of_azurerms(run: Terraform) -> None:
    assert "Success!" in good(run("validate", "-no-color"))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("liveness_probe {", "livenes_probe {"), (".login_server}", ".loginserver}"), ("os_type ", "#")],
)
def test_a_slip_would_be_found(run: Terraform, module: Path, right: str, wrong: str) -> None:
    """The stand-in is no yes-man."""
    for file in module.glob("*.tf"):
        file.write_text(file.read_text().replace(right, wrong))

    assert run("validate", "-no-color").returncode == 1


def test_its_own_tests_pass(run: Terraform, module: Path) -> None:
    written = sum(len(re.findall(r'^run "', file.read_text(), re.M)) for file in module.glob("tests/*.tftest.hcl"))

    said = good(run("test", "-no-color"))

    assert written > 15
    assert f"Success! {written} passed, 0 failed." in said


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_made_stays_as_it_is_and_is_removed(run: Terraform, service: str) -> None:
    asked = ["-input=false", "-no-color", f"-var=service={service}"]

    made = good(run("apply", "-auto-approve", *asked))
    again = run("plan", "-detailed-exitcode", *asked)
    outputs = json.loads(good(run("output", "-json")))
    removed = good(run("destroy", "-auto-approve", *asked))

    assert again.returncode == 0, again.stdout  # 2 would be changes
    assert outputs["service"]["value"] == service
    assert outputs["image"]["value"].endswith("/rerank:abc1234")
    assert outputs["url"]["value"].startswith("https://" if service == "container-app" else "http://")
    assert KEY not in made + again.stdout + json.dumps(outputs)
    assert re.search(r"Destroy complete! Resources: [67] destroyed", removed)
    assert good(run("state", "list")) == ""


def test_the_other_service_takes_the_place_of_the_one_and_leaves_the_rest(run: Terraform) -> None:
    good(run("apply", "-auto-approve", "-no-color"))

    said = good(run("apply", "-auto-approve", "-no-color", "-var=service=container-app"))

    assert "Resources: 2 added, 0 changed, 1 destroyed" in said


@pytest.mark.parametrize("service", SERVICES)
def test_the_server_knows_every_variable_that_it_is_given(run: Terraform, service: str) -> None:
    known = {variable_of(field.name) for field in settings_fields()} | {"USE_FP16", "CORS_ORIGINS"}

    given = environment_of(service, planned(run, service))

    assert given.keys() <= known
    assert given["RERANK_LOG_FORMAT"] == "json"
    assert {"RERANK_API_KEYS", "USE_FP16", "CORS_ORIGINS"} <= given.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_the_keys_are_a_secret(run: Terraform, service: str) -> None:
    plan = planned(run, service)

    if service == "container-instance":
        container = plan["azurerm_container_group"]["container"][0]
        assert KEY not in json.dumps(container["environment_variables"])
        assert container["secure_environment_variables"] == {"RERANK_API_KEYS": KEY}
    else:
        app = plan["azurerm_container_app"]
        assert KEY not in json.dumps(app["template"])
        assert [secret["value"] for secret in app["secret"]] == [KEY]


def test_an_app_has_more_time_to_end_than_the_server_takes(run: Terraform) -> None:
    plan = planned(run, "container-app")
    drain = {field.name: field.default for field in settings_fields()}["drain_seconds"]
    prestop = int(environment_of("container-app", plan)["RERANK_PRESTOP_SECONDS"])

    assert plan["azurerm_container_app"]["template"][0]["termination_grace_period_seconds"] > prestop + drain


def test_probes_and_doors_are_those_of_the_image(root: Path, text: str) -> None:
    port = re.search(r"\bPORT=(\d+)", (root / "Dockerfile").read_text())

    assert port is not None
    assert re.findall(r"^ +port += (\d+)$", text, re.M) == [port[1]]  # once; elsewhere it is local.port
    assert set(re.findall(r'\bpath += "([^"]+)"', text)) == {"/livez", "/readyz"}


def test_the_example_names_variables_that_there_are(folder: Path, text: str) -> None:
    example = (folder / "terraform.tfvars.example").read_text()

    named = set(re.findall(r"^(?:# )?(\w+) += ", example, re.M))

    assert len(named) > 8
    assert named <= set(re.findall(r'^variable "(\w+)"', text, re.M))


def test_every_variable_and_output_is_described(text: str) -> None:
    blocks = re.findall(r'^(?:variable|output) "(\w+)" {\n(.*?)^}', text, re.M | re.S)

    assert len(blocks) > 15
    assert [name for name, block in blocks if "description = " not in block and "description  =" not in block] == []


def test_git_sees_no_state_no_keys_and_no_lock_file(root: Path, folder: Path) -> None:
    if not (root / ".git").exists() or shutil.which("git") is None:
        pytest.skip("SKIPPED LOUDLY: this is no git checkout, what git ignores is not checked")
    kept_out = [
        "terraform.tfstate", "terraform.tfstate.backup", "terraform.tfvars", "all.tfplan", "backend_override.tf",
        ".terraform/providers", ".terraform.lock.hcl",
    ]  # fmt: skip
    kept = [path.name for path in folder.glob("*.tf")] + ["terraform.tfvars.example", ".checkov.yaml"]

    asking = ["git", "check-ignore", *kept_out, *kept]
    ran = subprocess.run(asking, cwd=folder, capture_output=True, text=True, timeout=60, check=False)

    assert ran.stdout.split() == kept_out


@pytest.fixture(scope="session")
def checkov(root: Path) -> list[str]:
    """The command: what ``CHECKOV`` names, what is installed, or what uv can get."""
    named = os.environ.get("CHECKOV") or shutil.which("checkov")
    if named:
        return shlex.split(named)
    uv = shutil.which("uv") or shutil.which(root / ".uv" / "bin" / "uv")
    if uv is None:
        pytest.skip("SKIPPED LOUDLY: neither checkov nor uv is here, the files for Azure are not scanned")
    command = [uv, "tool", "run", "--from", CHECKOV, "checkov"]
    got = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=500, check=False)
    if got.returncode != 0:
        pytest.skip(f"SKIPPED LOUDLY: uv cannot get checkov, the files for Azure are not scanned: {got.stderr[-300:]}")
    return command


def failed_checks(checkov: list[str], module: Path, *options: str) -> set[str]:
    scan = [*checkov, "--directory", ".", "--framework", "terraform", "--skip-download", "--output", "json", *options]
    ran = subprocess.run(scan, cwd=module, capture_output=True, text=True, timeout=200, check=False)
    report = json.loads(ran.stdout)
    assert report["summary"]["passed"] + report["summary"]["failed"] > 0, ran.stderr
    return {check["check_id"] for check in report["results"]["failed_checks"]}


@pytest.mark.parametrize("service", SERVICES)
def test_checkov_finds_only_what_is_left_out_with_a_reason(
    checkov: list[str], module: Path, tmp_path: Path, service: str
) -> None:
    settings = tmp_path / "service.tfvars"
    settings.write_text(f'service = "{service}"\nimage_tag = "abc1234"\n')
    left_out = set(re.findall(r"^  - (CKV\w+)", (module / ".checkov.yaml").read_text(), re.M))
    (module / ".checkov.yaml").rename(tmp_path / "checkov.yaml")

    failed = failed_checks(checkov, module, "--var-file", str(settings))

    assert failed - left_out == set()
    if service == "container-instance":
        assert left_out - failed == set(), "a check is left out that would pass"


def test_checkov_reads_what_is_left_out(checkov: list[str], module: Path) -> None:
    assert failed_checks(checkov, module, "--config-file", ".checkov.yaml") == set()


def test_the_script_deploys_with_terraform_itself(
    root: Path, terraform: str, standin: dict[str, str], module: Path, tmp_path: Path
) -> None:
    """What it asks of Terraform is what these files have: only az, docker and curl are doubles."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("az", "docker", "curl"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/calls"\n')
        (tools / name).chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    environment = os.environ | standin | GIVEN | {"TF_DIR": str(module), "PATH": path}
    deploying = [str(root / "deploy/azure/deploy_azure.sh"), "t1"]

    for _ in range(2):
        ran = subprocess.run(deploying, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    calls = (tmp_path / "calls").read_text().splitlines()
    assert "Resources: 0 added, 0 changed, 0 destroyed" in ran.stdout
    assert any(call.startswith("docker push ") and call.endswith("/rerank:t1") for call in calls)
    assert calls[-1].startswith("curl ")
    assert calls[-1].endswith("/readyz")
    assert (module / "terraform.tfstate").exists()
