"""The Hugging Face Hub, and what is loaded from it."""

from __future__ import annotations

from .signature import CANNOT, EITHER, HELPS, MAY, ROOT, Signature

_CACHE = "fetch it beforehand where there is a network (`hf download`), into the HF_HOME that the job has"

HUB = (
    Signature(
        "hub-gated",
        ROOT,
        r"(?:[\w.]+\.)?GatedRepoError: |You are trying to access a gated repo|.*Cannot access gated repo for url"
        r"|\S+ is a gated repository",
        "the model or data set has to be asked for on the hub, and this token's owner has not, or there is no token",
        "ask for access on its page; HF_TOKEN among the profile's `secrets`",
        CANNOT,
    ),
    Signature(
        "hub-not-found",
        ROOT,
        r"(?:[\w.]+\.)?RepositoryNotFoundError: |.*Repository Not Found for url"
        r"|(?:OSError: )?\S+ is not a local folder and is not a valid model identifier"
        r"|(?:[\w.]+\.)?(?:RevisionNotFoundError|DatasetNotFoundError): ",
        "the hub has nothing of that name, or hides it from this token",
        "the name in the config; HF_TOKEN among the profile's `secrets` where it is private",
        CANNOT,
    ),
    Signature(
        "hub-unauthorized",
        ROOT,
        r"(?:[\w.]+\.)?(?:HfHubHTTPError|HTTPError|HTTPStatusError): .*\b401\b"
        r"|Invalid (?:user token|credentials in Authorization header)|(?:[\w.]+\.)?LocalTokenNotFoundError: ",
        "the hub does not take the job's token",
        "a new HF_TOKEN, among the profile's `secrets`",
        CANNOT,
    ),
    Signature(
        "hub-forbidden",
        ROOT,
        r"(?:[\w.]+\.)?(?:HfHubHTTPError|HTTPError|HTTPStatusError): .*\b403\b",
        "the token may not read that",
        "a token with the right to read gated repositories",
        CANNOT,
    ),
    Signature(
        "hub-rate",
        ROOT,
        r".*\b429 (?:Too Many Requests|Client Error)|.*we had to rate limit (?:you|your IP)",
        "the hub takes no more requests for a while: every rank asks it",
        _CACHE + ", and HF_HUB_OFFLINE=1 in env_vars; HF_TOKEN raises the limit",
        HELPS,
    ),
    Signature(
        "hub-down",
        ROOT,
        r".*\b50[0234] (?:Server Error|Internal Server Error|Bad Gateway|Service Unavailable|Gateway)",
        "the hub itself is in trouble",
        _CACHE,
        HELPS,
    ),
    Signature(
        "hub-offline",
        ROOT,
        r"(?:[\w.]+\.)?OfflineModeIsEnabled: |Cannot reach \S+: offline mode is enabled"
        r"|.*outgoing traffic has been disabled|Offline mode is enabled",
        "HF_HUB_OFFLINE is set, and what is asked for is not in the cache of that node",
        _CACHE,
    ),
    Signature(
        "hub-unreachable",
        ROOT,
        r"(?:[\w.]+\.)?LocalEntryNotFoundError: |.*We couldn't connect to '\S+' to load the files"
        r"|.*An error happened while trying to locate the file on the Hub|.*Max retries exceeded with url"
        r"|(?:httpx\.|httpcore\.|requests\.\S*)?Connect(?:ion|Timeout)?Error: .*(?:huggingface|hf\.co|HTTPSConnection)",
        "the node does not reach the hub, and the files are not in its cache",
        _CACHE + ", and HF_HUB_OFFLINE=1 in env_vars",
    ),
    Signature(
        "hub-no-file",
        ROOT,
        r"(?:[\w.]+\.)?(?:Remote)?EntryNotFoundError: |(?:OSError: )?\S+ does not appear to have a file named",
        "the repository has no file of that name",
        "is it a model of the kind that the config says? its revision?",
    ),
    Signature(
        "tokenizer-missing",
        ROOT,
        r"(?:OSError: )?Can't load tokenizer for|.*Couldn't instantiate the backend tokenizer"
        r"|.*Unrecognized (?:model in|configuration class)|(?:[\w.]+\.)?.*does not recognize this architecture",
        "transformers does not know this tokenizer or model, or a file or package of it is missing",
        "a newer transformers, or an image with sentencepiece and tiktoken",
    ),
    Signature(
        "tokenizer-mismatch",
        EITHER,
        r"index out of range in self|.*\bvocab(?:ulary)?[_ ]size\b.*(?:does not match|mismatch|smaller|must be)"
        r"|(?:IndexError: )?Target \d+ is out of bounds",
        "a token's id is larger than the model's vocabulary: the data were made with another tokenizer",
        "`launch.py data-prep inspect PATH` shows the largest id; compare it with vocab_size",
        MAY,
    ),
)
