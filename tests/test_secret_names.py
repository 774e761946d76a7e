"""Whose name says that it is a secret: the rule of recipes/contract.py, which launcher and node agent share."""

from __future__ import annotations

import itertools
import string
from pathlib import Path

import pytest

from automodel_launch import secret_rules

SECRET = """
    HF_TOKEN HUGGING_FACE_HUB_TOKEN TOKEN GITHUB_TOKEN GH_PAT GITHUB_PAT AZURE_DEVOPS_EXT_PAT NGROK_AUTHTOKEN
    authToken accessToken CI_JOB_TOKEN AWS_SESSION_TOKEN SLACK_BOT_TOKEN TOKEN_GITHUB HF_TOKEN_2 NPM_TOKEN_PROD
    JUPYTER_TOKEN WANDB_API_KEY WANDB_KEY NGC_KEY NGC_API_KEY OPENAI_KEY OPENAI_API_KEY COMET_API_KEY
    AZURE_STORAGE_KEY API_KEYS AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID SSH_PRIVATE_KEY DEPLOY_KEY SIGNING_KEY
    ENCRYPTION_KEY TS_AUTHKEY APIKEY MYAPIKEY SECRET_KEY SECRET_KEY_BASE DJANGO_SECRET_KEY LICENSE_KEY
    ANTHROPIC_API_KEY apiKey wandbApiKey MYSQL_PWD PGPASSWORD DB_PASS DB_PASSWORD db_password dbPassword SSHPASS
    RSYNC_PASSWORD VNCPASSWD MYSQL_ROOT_PASSWORD SMTP_PASS FTP_PASSWD KEY_PASSPHRASE NOREPLY_PASSWORD ADMIN_PWD
    PASSWORD PASSWD DB_PASSWORD_PROD AZURE_CLIENT_SECRET OAUTH_CLIENT_SECRET SECRET CLIENT_SECRETS AWS_CREDENTIALS
    GCP_CREDS DOCKER_AUTH REDISCLI_AUTH NPM_AUTH BASIC_AUTH AZURE_STORAGE_CONNECTION_STRING DB_CONN_STR
    REDIS_CONNECTION_STRING SQL_CONNSTR SLACK_WEBHOOK_URL TEAMS_WEBHOOK DISCORD_WEBHOOK_URI SENTRY_DSN DSN
    POSTGRES_DSN GITHUB_JWT AZURE_STORAGE_SAS_TOKEN BLOB_SAS_URL SESSION_COOKIE VPN_OTP
"""
PLAIN = """
    TOKENIZERS_PARALLELISM TOKENIZER MAX_TOKENS MAX_TOKEN_LENGTH NUM_TOKENS EOS_TOKEN BOS_TOKEN_ID PAD_TOKEN
    UNK_TOKEN TOKENS_PER_BATCH MAX_TOKEN LOSS_PER_TOKEN HF_TOKEN_PATH AWS_WEB_IDENTITY_TOKEN_FILE OAUTH_TOKEN_URL
    TOKEN_TTL HF_HUB_DISABLE_IMPLICIT_TOKEN USE_AUTH_TOKEN IMAGE_TOKEN TOKEN_DROP TOKENIZER_CACHE_KEY KEYBOARD KEY
    KEYS MONKEY TEXT_KEY JSON_KEYS SORT_KEY CACHE_KEY PRIMARY_KEY PARTITION_KEY PUBLIC_KEY SSH_KEY_PATH SSH_HOST_KEY
    IMAGE_KEY HOTKEY KEYMAP API_KEY_FILE PRIVATE_KEY_PATH PWD OLDPWD INIT_PWD APPTAINER_PWD PASS_THROUGH PASSAGE
    PASS SINGLE_PASS FORWARD_PASS BYPASS COMPASS GIT_ASKPASS SSH_ASKPASS PASSTHROUGH NO_PASSWORD PASSWORD_MIN_LENGTH
    PASSWORDLESS PGPASSFILE DB_PASSWORD_FILE SSH_AUTH_SOCK AUTH AUTHOR AUTHORITY XAUTHORITY USE_AUTH DISABLE_AUTH
    REQUIRE_AUTH NO_AUTH MLFLOW_TRACKING_AUTH AUTH_TYPE GOOGLE_APPLICATION_CREDENTIALS AWS_SHARED_CREDENTIALS_FILE
    SECRETARY SECRET_NAME SECRETS_DIR DATABASE_URL WEBHOOK_PORT PATH PATTERN PATCH FILE_PAT PATIENCE HOME HF_HOME
    LAUNCH_HIDDEN LAUNCH_JOB_ID NCCL_DEBUG MASTER_ADDR WANDB_PROJECT CUDA_VISIBLE_DEVICES PYTHONPATH OMP_NUM_THREADS
    SLURM_JOB_ID KRB5CCNAME STR CONNECTION ENCODING
"""


@pytest.mark.parametrize("name", SECRET.split())
def test_names_that_say_so(name: str) -> None:
    assert secret_rules.is_secret_name(name)


@pytest.mark.parametrize("name", PLAIN.split())
def test_names_that_do_not(name: str) -> None:
    assert not secret_rules.is_secret_name(name)


ENDS = ("TOKEN", "API_KEY", "PASSWORD", "SECRET", "KEY", "PASS", "PWD", "PAT", "AUTH", "DSN", "CONNECTION_STRING")
OWNERS = ("ACME", "MY_ORG", "NVIDIA", "X2", "gitlab", "S3")


@pytest.mark.parametrize(("owner", "end"), list(itertools.product(OWNERS, ENDS)))
def test_whoever_owns_it(owner: str, end: str) -> None:
    """A name stays a secret's in small letters, with a number, and with the place that it is for."""
    for name in (
        f"{owner}_{end}",
        f"{owner}_{end}".lower(),
        f"{owner}_{end}_2",
        f"{owner}_{end}_PROD",
        f"_{owner}_{end}",
    ):
        assert secret_rules.is_secret_name(name), name
    for name in (f"{owner}_{end}_FILE", f"{owner}_{end}_NAME", f"DISABLE_{owner}_{end}", f"{owner}_{end}X"):
        assert not secret_rules.is_secret_name(name), name


def test_names_that_are_none() -> None:
    for name in ("", "_", "__", "1", *string.punctuation, "é", "\0", "=" * 9):
        assert not secret_rules.is_secret_name(name)


@pytest.mark.parametrize("value", ["1", "true", "", "     ", "12345678", "offline", "/etc/passwd"])
def test_values_that_are_no_secret(value: str) -> None:
    assert secret_rules.secret_values({"A_TOKEN": value}) == {}


def test_values_that_are(tmp_path: Path) -> None:
    environ = {
        "A_TOKEN": "hf_abcdef",
        "OTHER": "hf_abcdef",
        "MINE": "s3cr3t",
        "B_KEY": f"{tmp_path}/none",
        "C_KEY": "12345678901",
    }
    assert set(secret_rules.secret_values(environ, ["MINE"])) == {"A_TOKEN", "MINE", "B_KEY", "C_KEY"}


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("https://user:pa55@host/x", "pa55"),
        ("postgres://u:p%40ss@db:5432/x", "p%40ss"),
        ("redis://:only@h", "only"),
        ("see git+https://me:tok@github.com/a/b.git now", "tok"),
        ("http://u:p@[::1]:80", "p"),
        ("https://host:8080/a@b", None),
        ("https://user@host", None),
        ("docker://nvcr.io/nvidia/pytorch:25.01", None),
        ("s3://bucket/a:b@c", None),
        ("ssh://git@host:22/x", None),
        ("mail a:b@c", None),
    ],
)
def test_passwords_in_urls(text: str, password: str | None) -> None:
    found = secret_rules.URL_PASSWORD.search(text)
    assert (found and found.group(2)) == password
