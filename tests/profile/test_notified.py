"""`notify` of a profile: what is taken, and that no URL which is a secret gets any further."""

from __future__ import annotations

import pytest

from automodel_launch.errors import ProfileError
from automodel_launch.profile import notified
from automodel_launch.profile.schema import Profile
from automodel_launch.profile.validation import validate

SLACK = "https://hooks.slack.com/services/T000/B000/" + "aB3dE6gH9jK2mN5pQ8rS1tU4"


@pytest.mark.parametrize(
    "entry",
    ["mail:me@example.org", "https://ops.example.org/hook", "http://localhost:8080/", "env:HOOK", "slack:env:HOOK"],
)
def test_what_is_taken(entry: str) -> None:
    profile = validate({"notify": [entry], "secrets": ["HOOK"]}, str)
    notified.refuse(profile, "notify")
    assert profile.notify == (entry,)


@pytest.mark.parametrize(
    "entry",
    [
        SLACK,
        f"slack:{SLACK}",
        "https://me:pass@ops.example.org/hook",
        "https://ops.example.org/hook?token=abc",
        "https://ops.example.org/aB3dE6gH9jK2mN5pQ8rS",
        "https://discord.com/api/webhooks/1/2",
    ],
)
def test_a_url_that_is_a_secret_is_refused_and_not_repeated(entry: str) -> None:
    with pytest.raises(ProfileError) as refused:
        notified.refuse(Profile(notify=(entry,)), "notify (dgx)")
    said = f"{refused.value.message} {refused.value.hint}"
    assert "notify (dgx): entry 1" in said
    assert "env:" in said
    assert entry not in said
    assert "hooks.slack.com" not in said


@pytest.mark.parametrize("entry", ["http://h:99999/x", "https://:443/"])
def test_a_url_that_leads_nowhere(entry: str) -> None:
    with pytest.raises(ProfileError, match=r"notify \(dgx\): entry 1 has no host, or its port is not valid"):
        notified.refuse(Profile(notify=(entry,)), "notify (dgx)")


def test_a_variable_that_the_job_lacks() -> None:
    with pytest.raises(ProfileError, match="slack:env:HOOK names a variable that the job does not have"):
        notified.refuse(Profile(notify=("slack:env:HOOK",)), "notify (dgx)")


@pytest.mark.parametrize(
    "entry", ["me@example.org", "mail:me", "slack:hooks.slack.com/services/x", "env:1", "ftp://x", ""]
)
def test_what_is_none_is_refused_without_the_value(entry: str) -> None:
    with pytest.raises(ProfileError) as refused:
        validate({"notify": [entry]}, str)
    assert "mail:ADDRESS" in refused.value.message
    assert not entry or entry not in refused.value.message


@pytest.mark.parametrize(
    ("key", "entries", "said"),
    [
        ("notify", ["env:HOOK", "slack", "hooks.slack.com/T0/B0/drawn"], "d: entry 2 = 'slack', entry 3 are not valid"),
        ("track", ["tensorboard", "wandb", "mlflow:a"], "d: entry 2 = 'wandb' is not valid: expected wandb:PROJECT"),
        ("secrets", ["A", 5], "d: entry 2 = 5 is not valid: expected a string."),
        ("setup_lines", ["A", 5], "d: entry 2 = 5 is not valid: expected a string."),
    ],
)
def test_the_wrong_entry_of_a_list_is_named(key: str, entries: list[object], said: str) -> None:
    with pytest.raises(ProfileError) as told:
        validate({key: entries}, lambda name: "d")
    assert said in str(told.value) and "drawn" not in str(told.value)
