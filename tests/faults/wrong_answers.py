"""Answers to writes that are none of Langfuse's, as proxies, portals, gateways and other servers give them."""

import gzip
import json

from tests.faults.proxy import Fault

HTML = {"content-type": "text/html; charset=utf-8"}
JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain"}
PROTOBUF = {"content-type": "application/x-protobuf"}
PAGE = b"<!doctype html><title>Sign in to the network</title>"


def _json(status: int, content: object) -> Fault:
    return Fault(status=status, headers=JSON, content=json.dumps(content).encode())


def _empty(status: int, headers: dict[str, str] = JSON) -> Fault:
    return Fault(status=status, headers=headers, content=b"")


WRONG_ANSWERS: dict[str, Fault] = {
    "200 with a page": Fault(status=200, headers=HTML, content=PAGE),
    "200 with a page said to be JSON": Fault(status=200, headers=JSON, content=PAGE),
    "200 with a page and no type": Fault(status=200, headers={"content-type": ""}, content=PAGE),
    "200 with text": Fault(status=200, headers=TEXT, content=b"OK"),
    "200 with an empty body": _empty(200),
    "200 with an empty text": _empty(200, TEXT),
    "200 with null": _json(200, None),
    "200 with a list": _json(200, []),
    "200 with a number": _json(200, 1),
    "200 with a word": _json(200, "OK"),
    "200 with an error": _json(200, {"error": "login required"}),
    "200 with a status": _json(200, {"status": "ok"}),
    "200 with another message": _json(200, {"message": "Welcome"}),
    "200 with an id that is none of ours": _json(200, {"id": "1"}),
    "200 with half a JSON text": Fault(status=200, headers=JSON, content=b'{"message": "Acc'),
    "200 with gzip that is none": Fault(
        status=200, headers={**JSON, "content-encoding": "gzip"}, content=gzip.compress(b"{}")[:-12]
    ),
    "200 with JSON that is nested too deeply": Fault(status=200, headers=JSON, content=b"[" * 100_000),
    "500 with JSON that is nested too deeply": Fault(status=500, headers=JSON, content=b"[" * 100_000),
    "200 with protobuf that is none": Fault(status=200, headers=PROTOBUF, content=b"\xff\xff\xff"),
    "200 with the batch of a legacy API": _json(200, {"successes": [], "errors": []}),
    "201 with a page": Fault(status=201, headers=HTML, content=PAGE),
    "202 with an empty body": _empty(202),
    "202 with a job": _json(202, {"job": 1}),
    "203 with a page": Fault(status=203, headers=HTML, content=PAGE),
    "204": _empty(204, {}),
    "206": _json(206, {"message": "OK"}),
    "207 with a page": Fault(status=207, headers=HTML, content=PAGE),
    "207 with other counts": _json(207, {"successes": 1}),
    "226": _json(226, {}),
    "301": Fault(status=301, headers={"location": "http://127.0.0.1:9/login"}, content=b""),
    "302": Fault(status=302, headers={"location": "http://127.0.0.1:9/login"}, content=b""),
    "304": _empty(304, {}),
    "307": Fault(status=307, headers={"location": "http://127.0.0.1:9/"}, content=b""),
    "400 with a page": Fault(status=400, headers=HTML, content=PAGE),
    "400 with an empty body": _empty(400),
    "400 with an error of a gateway": _json(400, {"error": "bad_request"}),
    "401": _json(401, {"message": "Invalid credentials."}),
    "402": _json(402, {"message": "Payment required"}),
    "403": Fault(status=403, headers=HTML, content=PAGE),
    "404": _json(404, {"message": "Not found", "error": "LangfuseNotFoundError"}),
    "404 with a page": Fault(status=404, headers=HTML, content=PAGE),
    "405": _json(405, {"message": "Method not allowed"}),
    "407": Fault(status=407, headers=HTML, content=PAGE),
    "408": _empty(408),
    "409": _json(409, {"message": "Conflict", "error": "LangfuseConflictError"}),
    "410": _json(410, {"message": "Gone"}),
    "411": _empty(411, TEXT),
    "413 with a page": Fault(status=413, headers=HTML, content=PAGE),
    "415": _json(415, {"message": "Unsupported media type"}),
    "418": _json(418, {"message": "I'm a teapot"}),
    "421": _empty(421, TEXT),
    "422 with a page": Fault(status=422, headers=HTML, content=PAGE),
    "425": _empty(425, TEXT),
    "429 without a wait": _json(429, {"message": "Too many requests"}),
    "451": Fault(status=451, headers=HTML, content=PAGE),
    "500": _json(500, {"message": "Internal Server Error"}),
    "501": _empty(501),
    "502 with a page": Fault(status=502, headers=HTML, content=PAGE),
    "503": Fault(status=503, headers={**HTML, "retry-after": "1"}, content=PAGE),
    "504": _empty(504),
    "520": Fault(status=520, headers=HTML, content=PAGE),
    "599": _empty(599),
}
