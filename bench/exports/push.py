"""Uploads an exported model to Hugging Face's hub."""

from __future__ import annotations

from pathlib import Path

from bench.errors import UserError
from bench.text import shortened
from bench.upstream.reference_names import HUB_ID


def check_push(repository: str) -> None:
    """Refuse an upload that cannot work, before the model is exported.

    Raises:
        UserError: the name is no hub id, the hub may not be asked, or nobody is logged in.
    """
    from huggingface_hub import constants, get_token

    if not HUB_ID.fullmatch(repository):
        raise UserError(
            f"Expected owner/name of a repository on Hugging Face's hub in --push. Found {shortened(repr(repository))}."
        )
    if constants.HF_HUB_OFFLINE:
        raise UserError("--push needs the network, and HF_HUB_OFFLINE is set. Unset it, or leave --push out.")
    if get_token() is None:
        raise UserError("--push needs a login at Hugging Face's hub. Found none. Run `hf auth login`, or set HF_TOKEN.")


def push(path: Path, repository: str) -> str:
    """Upload a file, or the content of a folder, in one commit. The repository is created if there is none.

    Returns:
        The page of the repository.

    Raises:
        UserError: the upload failed. The export stays where it is.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    api = HfApi()
    message = "Upload a model exported by superb-bench"
    try:
        page = api.create_repo(repository, exist_ok=True)
        if path.is_dir():
            api.upload_folder(repo_id=repository, folder_path=path, commit_message=message)
        else:
            api.upload_file(repo_id=repository, path_or_fileobj=path, path_in_repo=path.name, commit_message=message)
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise UserError(
            f"Expected to upload {shortened(str(path), 100)} to {shortened(repository, 60)}. Failed: "
            f"{shortened(reason, 100)}. The export is complete; upload it later with `hf upload`."
        ) from error
    return str(page)
