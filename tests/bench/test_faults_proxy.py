"""Servers that fail: the proxy's faults begin and end as told, and uploads in parts are dropped."""

import contextlib
import http.client
import itertools

import numpy as np
import pytest

from bench.faults.proxy import Answer, Proxy, Request, answering, away, forwarding, silent
from bench.faults.uploads import Uploads, dropping, s3_error

FINE = Answer(status=200, body=b"fine")


class Counting:
    """A server that answers everything, and remembers it."""

    def __init__(self):
        self.asked = []

    def __call__(self, request):
        self.asked.append(request)
        return FINE


def ask(proxy, method="GET", path="/x", body=None, **headers):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_proxy_passes_on_what_is_asked_and_answered():
    with Proxy(Counting()).listening() as behind:
        with Proxy(forwarding(behind.address)).listening() as proxy:
            assert ask(proxy, "PUT", "/a?b=c", b"payload", Own="1") == (200, b"fine")
        assert proxy.asked == behind.asked == 1
        (request,) = behind._server.asked
    assert (request.method, request.path, request.body, request.headers["Own"]) == ("PUT", "/a?b=c", b"payload", "1")


def test_proxy_reads_a_body_in_chunks():
    with Proxy(Counting()).listening() as proxy:
        assert ask(proxy, "PUT", "/x", iter([b"pay", b"load"]))[0] == 200
        assert proxy._server.asked[0].body == b"payload"


def test_proxy_fault_begins_with_its_request_and_ends_after_its_seconds():
    fault = answering(np.random.default_rng(0), [s3_error(503, "SlowDown")])
    with Proxy(Counting(), fault, first=2, seconds=0.5).listening() as proxy:
        assert [ask(proxy)[0] for _ in range(2)] == [200, 200]
        assert not proxy.began
        assert [ask(proxy)[0] for _ in range(3)] == [503, 503, 503]
        proxy.wait()
        assert proxy.over
        assert ask(proxy)[0] == 200


def test_proxy_that_is_away_refuses_and_comes_back_on_its_port():
    with Proxy(Counting(), away, first=1, seconds=0.5).listening() as proxy:
        assert ask(proxy)[0] == 200
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(proxy)
        with pytest.raises(ConnectionRefusedError):
            ask(proxy)
        proxy.wait()
        assert ask(proxy)[0] == 200


def test_answering_and_silent_have_half_of_the_requests_done_all_the_same():
    request = Request(method="PUT", path="/x", headers={}, body=b"")
    for fault in (answering(np.random.default_rng(0), [FINE]), silent(np.random.default_rng(0), 0.0)):
        server = Counting()
        answers = [fault(request, server) for _ in range(40)]
        assert 10 < len(server.asked) < 30
        assert set(answers) <= {FINE, None}


class Client:
    """What puts objects."""

    def __init__(self):
        self.objects = {}

    def put_object(self, *, Bucket, Key, Body, **more):
        self.objects[Key] = (Body, more)
        return {"ETag": '"e"'}


def upload(uploads, *, parts=(b"ab", b"c")):
    begun = uploads(Request(method="POST", path="/bucket/a%20key?uploads", headers={}, body=b""))
    name = begun.body.decode().partition("<UploadId>")[2].partition("<")[0]
    path = f"/bucket/a%20key?uploadId={name}"
    numbers = range(1, len(parts) + 1)
    answers = [
        uploads(Request(method="PUT", path=f"{path}&partNumber={number}", headers={}, body=part))
        for number, part in zip(numbers, parts, strict=True)
    ]
    return [begun, *answers], path


def test_uploads_put_the_parts_together_on_their_condition():
    client = Client()
    uploads = Uploads(Counting(), client)
    answers, path = upload(uploads)
    done = uploads(Request(method="POST", path=path, headers={"If-None-Match": "*"}, body=b""))
    assert {answer.status for answer in (*answers, done)} == {200}
    assert client.objects == {"a key": (b"abc", {"IfNoneMatch": "*"})}
    assert uploads(Request(method="POST", path=path, headers={}, body=b"")).status == 404


def test_dropping_lets_other_requests_through_and_drops_uploads_in_every_way():
    uploads, fault = Uploads(Counting(), Client()), dropping(np.random.default_rng(0))
    assert fault(Request(method="PUT", path="/bucket/key", headers={}, body=b""), uploads) is FINE
    seen = set()
    for _ in itertools.repeat(None, 30):
        _, path = upload(uploads)
        answer = fault(Request(method="PUT", path=f"{path}&partNumber=3", headers={}, body=b"x"), uploads)
        seen.add(answer and (answer.status, b"NoSuchUpload" in answer.body))
    assert seen == {None, (404, True), (500, False)}
