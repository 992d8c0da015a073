"""What takes the place of rename and locks on an object store.

A folder is published in four steps (docs/decisions/0008-publishing-without-rename.md):

1. the attempt uploads its files under a name of its own, `<folder>/_attempts/<attempt>/…`;
2. `<folder>/_attempts/chosen` is created with the attempt's name on the condition that it does not exist: the
   store lets one attempt do that, and the answer never changes again;
3. any attempt copies the files of the *chosen* one, its own or not, to their places in `<folder>`;
4. and writes `<folder>/_SUCCESS`, after which the uploads of step 1 are removed.

Only one attempt's files are ever put into place, so it does not matter which attempt copies, how often, or dies.
"""

import errno
import time
import uuid
from collections.abc import Callable, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Any, TypeVar

from upath import UPath

from pipeline.errors import DamagedError, InputError, StoreError
from pipeline.faults.find import raise_fault

SUCCESS = "_SUCCESS"
ATTEMPTS, CHOSEN = "_attempts", "chosen"
AT_ONCE = 8
"""Files uploaded or copied at the same time."""
TRIES = 5
Version = TypeVar("Version")
_REFUSED = (409, 412)  # somebody else was faster; the condition does not hold


def create_object(path: UPath, payload: bytes) -> bytes:
    """Create the object unless it exists; return what is there, `payload` or what another has put there before."""
    for _ in range(TRIES):
        try:
            path.fs.pipe_file(path.path, payload, mode="create")
            return payload
        except OSError as error:
            if not _was_refused(error):
                raise
        try:
            return read_object(path)
        except FileNotFoundError:
            time.sleep(0.1)  # the one who was faster has not finished, or failed
    raise StoreError(f"{path} can neither be created nor read; is it being deleted by another program?")


def create_object_from(local: Path, path: UPath) -> None:
    """Upload a file, in parts where it is large, unless the object exists."""
    try:
        path.fs.put_file(str(local), path.path, mode="create")
    except OSError as error:
        if not _was_refused(error):
            raise


def swap_object(path: UPath, before: bytes | None, after: bytes) -> bool:
    """Replace the object if its content is `before` (None: if there is none); whether it now is `after`."""
    if before is None:
        return create_object(path, after) == after
    try:
        with path.fs.open(path.path, "rb") as file:
            version, found = file.details["ETag"], file.read()
        if found == before:
            path.fs.pipe_file(path.path, after, IfMatch=version)
            return True
    except FileNotFoundError:
        return False
    except OSError as error:
        if not _was_refused(error):
            raise
    return read_object(path) == after  # refused may mean: an answer was lost, and the request was sent again


def read_object(path: UPath) -> bytes:
    """The object's content, in one request."""
    payload: bytes = path.fs.cat_file(path.path, max_concurrency=1)  # more would ask for the size first
    return payload


def read_object_start(path: UPath, limit: int) -> bytes:
    """The first bytes of the object, at most `limit`, in one request."""
    try:
        payload: bytes = path.fs.cat_file(path.path, start=0, end=limit)
    except OSError as error:
        if error.errno != errno.EINVAL or path.fs.size(path.path):
            raise
        return b""  # an empty object has no range
    return payload


def read_tagged(path: UPath, limit: int) -> tuple[bytes, int, str]:
    """The first bytes of the object, at most `limit`, its size and its ETag, in one request."""
    from fsspec.asyn import sync  # loads the client, as opening `path.fs` has

    payload, size, tag = sync(path.fs.loop, _get_start, path.fs, path.path, limit)
    return payload, size, tag.strip('"')


async def _get_start(fs: Any, path: str, limit: int) -> tuple[bytes, int, str]:
    from s3fs.core import _error_wrapper  # what `cat_file` repeats a reading with

    bucket, _, key = path.partition("/")

    async def get() -> tuple[bytes, int, str]:
        try:
            answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes=0-{limit - 1}")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            answer = await fs._call_s3("get_object", Bucket=bucket, Key=key)  # an empty object has no range
        try:
            size = answer.get("ContentRange", "").rpartition("/")[2] or answer["ContentLength"]
            return await answer["Body"].read(), int(size), answer["ETag"]
        finally:
            answer["Body"].close()

    found: tuple[bytes, int, str] = await _error_wrapper(get, retries=fs.retries)
    return found


def list_versions(paths: Sequence[UPath], version: Callable[..., Version]) -> dict[str, Version | None]:
    """What a bucket's listing says of some of its objects, None where it has none of that name.

    Args: version: makes one of `size` and `version`, the ETag.

    As many pages are asked for as there are paths; of those that lie beyond nothing is said.
    """
    fs, bucket = paths[0].fs, paths[0].path.partition("/")[0]
    keys = {path.path.partition("/")[2]: path.path for path in paths}
    prefix = commonprefix(list(keys))  # noqa: RUF071  any beginning of names is a prefix to a store
    found, more = dict[str, Version | None](), dict[str, str]()
    for _ in range(len(keys)):
        try:
            answer = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
        except PermissionError:  # what may not be listed may be read
            return {}
        except FileNotFoundError:  # no such bucket
            return dict.fromkeys(keys.values())
        for entry in answer.get("Contents", []):
            if entry["Key"] in keys:
                found[keys[entry["Key"]]] = version(size=entry["Size"], version=entry["ETag"].strip('"'))
        if not answer.get("IsTruncated"):
            return dict.fromkeys(keys.values()) | found
        more = {"ContinuationToken": answer["NextContinuationToken"]}
    return found


def publish_objects(local: Path, folder: UPath) -> bool:
    """Publish the files of a local folder as `folder`; whether it is these that were published."""
    attempt = uuid.uuid4().hex
    files = sorted(file for file in local.rglob("*") if file.is_file())
    own = folder / ATTEMPTS / attempt
    targets = [(own / file.relative_to(local).as_posix()).path for file in files]
    folder.fs.put([str(file) for file in files], targets, batch_size=AT_ONCE)
    chosen = create_object(folder / ATTEMPTS / CHOSEN, attempt.encode()).decode()
    _put_in_place(folder, chosen)
    return chosen == attempt


def _put_in_place(folder: UPath, chosen: str) -> None:
    fs, source = folder.fs, (folder / ATTEMPTS / chosen).path
    names = [name.removeprefix(source + "/") for name in fs.find(source)]
    try:
        fs.copy([f"{source}/{name}" for name in names], [(folder / name).path for name in names], batch_size=AT_ONCE)
    except FileNotFoundError:
        names = []
    if names:
        (folder / SUCCESS).write_bytes(b"")
    elif not (folder / SUCCESS).exists():
        raise DamagedError(f"{folder} was published and then damaged: it has no {SUCCESS}; delete it and try again")
    for name in fs.find((folder / ATTEMPTS).path):
        if not name.endswith(f"/{CHOSEN}"):
            fs.rm_file(name)


def require_bucket(path: UPath, key: str) -> None:
    """Ask the store for one name under `path`.

    Raises, with the setting `key`, what stands in the way and what sets it right: `PassingError` for a store that does
    not answer now, else `InputError`.
    """
    from botocore.exceptions import BotoCoreError

    bucket, _, prefix = path.path.partition("/")
    try:
        path.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except (OSError, BotoCoreError, ValueError) as error:
        raise_fault(error, f"{key}: {path} cannot be used")


def polars_options(path: UPath) -> dict[str, Any]:
    """Arguments with which a Polars scan reaches the store that `path` is in, as everything else reaches it."""
    meta = path.fs.connect().meta
    region = meta.region_name if meta.region_name not in (None, "aws-global") else "us-east-1"
    address = {"aws_endpoint_url": meta.endpoint_url, "aws_region": region, "aws_allow_http": "true"}
    return {"storage_options": address, "credential_provider": _credentials}


def _credentials() -> tuple[dict[str, str | None], int]:
    """Credentials by the standard chain, to be asked for again in five minutes."""
    from botocore.session import get_session

    found = get_session().get_credentials()
    if found is None:
        raise InputError("there are no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    keys = found.get_frozen_credentials()
    named = {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
    return named | ({"aws_session_token": keys.token} if keys.token else {}), int(time.time()) + 300


def _was_refused(error: OSError) -> bool:
    """Whether a conditional request failed because its condition does not hold.

    The store's answer is the cause; of a read that found the object changed since it was opened, the cause's cause.
    """
    causes = (error.__cause__, error.__cause__ and error.__cause__.__cause__)
    answers = [getattr(cause, "response", {}).get("ResponseMetadata", {}) for cause in causes]
    return isinstance(error, FileExistsError) or any(answer.get("HTTPStatusCode") in _REFUSED for answer in answers)
