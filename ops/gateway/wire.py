"""The gateway protocol, version 1: bytes to checked messages and back. docs/gateway-protocol.md is its contract.

It keeps: what is returned by `read_request` was signed with the secret and has exactly the fields of its type.
It knows no socket, no clock and no broker.
"""

import hashlib
import hmac
import json
import re
from decimal import Decimal

VERSION = 1
MAX_REQUEST_BYTES = 8192
MAX_REPLY_BYTES = 65536
MAX_DEPTH = 8
MAX_INTEGER = 2**53 - 1
MAX_LIFETIME_MS = 60_000
CLOCK_TOLERANCE_MS = 2_000
MAX_POSITIONS = 200

ORDER_CODES = ("requote", "price", "volume", "margin", "market_closed", "disabled", "other")
PROTOCOL_CODES = ("late", "unsigned", "bad_mac", "replayed", "version", "malformed")


class Refused(Exception):
    """A message that is not acted on: one of the codes, and a sentence for a human."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


# --- JSON without floats, without duplicate keys ------------------------------------------------------------------------------------


def _integer(text):
    if text == "-0" or len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise Refused("malformed", f"the number {text[:20]} is not an integer of at most 2^53-1")
    return int(text)


def _no_float(text):
    raise Refused("malformed", f"the number {text[:20]} is not an integer")


def _object(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Refused("malformed", "a key is there twice")
    return result


def _check_depth(value, depth=1):
    if isinstance(value, (dict, list)):
        if depth > MAX_DEPTH:
            raise Refused("malformed", f"nested deeper than {MAX_DEPTH}")
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, depth + 1)


def parse(frame, max_bytes):
    """The JSON value of a frame."""
    if len(frame) > max_bytes:
        raise Refused("malformed", f"{len(frame)} bytes, at most {max_bytes} are read")
    try:
        text = bytes(frame).decode("utf-8")
        value = json.loads(
            text, parse_int=_integer, parse_float=_no_float, parse_constant=_no_float, object_pairs_hook=_object
        )
        _check_depth(value)
        canonical(value)  # half a surrogate pair cannot be written as UTF-8
    except (ValueError, RecursionError) as error:
        raise Refused("malformed", "not JSON in UTF-8") from error
    return value


def canonical(value):
    """The canonical bytes (RFC 8785). Without floats that is: keys in the order of their UTF-16 code units, no white space, shortest escapes."""
    return json.dumps(_sorted(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def _sorted(value):
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))}
    if isinstance(value, list):
        return [_sorted(inner) for inner in value]
    return value


# --- the secret and the mac ---------------------------------------------------------------------------------------------------------


def read_secret(path):
    """The key: the text of a file without the white space at its ends. It is not decoded from hexadecimal or base64."""
    with open(path, "rb") as file:
        return check_secret(file.read())


def check_secret(content):
    key = content.strip(b" \t\r\n")
    if not 32 <= len(key) <= 512 or not all(0x21 <= byte <= 0x7E for byte in key):
        raise SystemExit("the secret is not 32 to 512 printable ASCII characters without spaces")
    return key


def mac_of(body, key):
    """The mac of an object that has no member `mac`."""
    return hmac.new(key, canonical(body), hashlib.sha256).hexdigest()


def sign(body, key):
    """The bytes to send."""
    return canonical({**body, "mac": mac_of(body, key)})


# --- the fields ---------------------------------------------------------------------------------------------------------------------

_ID = re.compile(r"[0-9A-Za-z._:-]{1,31}")
_KEY = re.compile(r"[0-9A-Za-z._:-]{1,64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,8})?")
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def _is_match(pattern):
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_text(min_bytes, max_bytes):
    return lambda value: (
        isinstance(value, str) and min_bytes <= len(value.encode("utf-8")) <= max_bytes and not _CONTROL.search(value)
    )


def _is_one_of(*names):
    return lambda value: isinstance(value, str) and value in names


def _is_integer(low, high):
    return lambda value: type(value) is int and low <= value <= high


def is_amount(value):
    """A decimal number in a string; never minus zero."""
    return _is_match(_DECIMAL)(value) and not (value[0] == "-" and not value.strip("-0."))


def _is_positive(value):
    return is_amount(value) and value[0] != "-" and value.strip("0.") != ""


def _or_null(check):
    return lambda value: value is None or check(value)


def _is_list_of(fields, at_most):
    def check(value):
        return isinstance(value, list) and len(value) <= at_most and all(_has_exactly(item, fields) for item in value)

    return check


def _has_exactly(value, fields):
    return isinstance(value, dict) and value.keys() == fields.keys() and all(fields[name](value[name]) for name in fields)


is_id = _is_match(_ID)
_is_key = _is_match(_KEY)
_is_time = _is_integer(0, MAX_INTEGER)
_is_side = _is_one_of("BUY", "SELL")
_is_symbol = _is_text(1, 64)
_is_name = _is_text(1, 64)
_is_bool = lambda value: isinstance(value, bool)  # noqa: E731
_is_magic = _is_integer(0, 2**31 - 1)

REQUESTS = {
    "ORDER": {
        "account": _is_name,
        "symbol": _is_symbol,
        "side": _is_side,
        "volume": _is_positive,
        "worst_price": _or_null(_is_positive),
        "magic": _is_magic,
    },
    "STATUS": {"order_id": is_id},
    "POSITIONS": {},
    "ACCOUNT": {},
    "HEARTBEAT": {},
    "KILL": {"reason": _is_text(0, 200)},
}

_FILL = {
    "order_id": is_id,
    "idempotency_key": _is_key,
    "ticket": _is_name,
    "symbol": _is_symbol,
    "side": _is_side,
    "requested_volume": _is_positive,
    "volume": _is_positive,
    "price": _is_positive,
    "executed_at": _is_time,
}
_POSITION = {
    "ticket": _is_name,
    "symbol": _is_symbol,
    "side": _is_side,
    "volume": _is_positive,
    "open_price": _is_positive,
    "current_price": _is_positive,
    "profit": is_amount,
    "opened_at": _is_time,
    "magic": _is_magic,
}

REPLIES = {
    "FILLED": _FILL,
    "PARTIAL": _FILL,
    "PLACED": {
        "order_id": is_id,
        "idempotency_key": _is_key,
        "ticket": _is_name,
        "symbol": _is_symbol,
        "side": _is_side,
        "requested_volume": _is_positive,
        "placed_at": _is_time,
    },
    "REJECTED": {
        "order_id": _or_null(is_id),
        "code": _is_one_of(*ORDER_CODES, *PROTOCOL_CODES),
        "message": _is_text(0, 200),
    },
    "UNKNOWN_ID": {"order_id": is_id},
    "POSITIONS": {"account": _is_name, "as_of": _is_time, "positions": _is_list_of(_POSITION, MAX_POSITIONS)},
    "ACCOUNT": {
        "account": _is_name,
        "mode": _is_one_of("demo", "real"),
        "currency": _is_text(1, 16),
        "balance": is_amount,
        "equity": is_amount,
        "margin_used": is_amount,
        "margin_free": is_amount,
        "leverage": _is_integer(1, 10_000),
        "as_of": _is_time,
    },
    "HEARTBEAT": {
        "account": _is_name,
        "is_connected": _is_bool,
        "is_trading_allowed": _is_bool,
        "is_killed": _is_bool,
        "started_at": _is_time,
    },
    "KILL": {"is_killed": _is_bool, "killed_at": _is_time},
}

_REQUEST = {
    "version": _is_integer(1, 1),
    "type": lambda value: isinstance(value, str) and value in REQUESTS,
    "id": is_id,
    "idempotency_key": _is_key,
    "sent_at": _is_time,
    "valid_until": _is_time,
}
_REPLY = {
    "version": _is_integer(1, 1),
    "type": lambda value: isinstance(value, str) and value in REPLIES,
    "id": _or_null(is_id),
    "request_sha256": _is_match(_HEX),
    "sent_at": _is_time,
}


def _read(frame, key, max_bytes, envelope, payloads):
    """The steps in the order of the contract: JSON, version, mac, and only then the fields."""
    body = parse(frame, max_bytes)
    if not isinstance(body, dict) or type(body.get("version")) is not int:
        raise Refused("malformed", "not an object with a version")
    if body["version"] != VERSION:
        raise Refused("version", f"version {body['version']}, spoken here is {VERSION}")
    if "mac" not in body:
        raise Refused("unsigned", "no mac")
    mac = body.pop("mac")
    # compare_digest takes as long for a mac that is nearly right as for one that is not.
    if not _is_match(_HEX)(mac) or not hmac.compare_digest(mac, mac_of(body, key)):
        raise Refused("bad_mac", "the mac is not that of the message")
    payload = body.pop("payload", None)
    if not _has_exactly(body, envelope):
        raise Refused("malformed", "a field is missing, unknown or has a wrong value")
    if not _has_exactly(payload, payloads[body["type"]]):
        raise Refused("malformed", f"a field of the payload of {body['type']} is missing, unknown or has a wrong value")
    body["payload"] = payload
    return body


def read_request(frame, key):
    """A request that is signed and well formed, or `Refused`. Time and repetition are the peer's to judge."""
    body = _read(frame, key, MAX_REQUEST_BYTES, _REQUEST, REQUESTS)
    if not 0 <= body["valid_until"] - body["sent_at"] <= MAX_LIFETIME_MS:
        raise Refused("malformed", f"valid_until is before sent_at or more than {MAX_LIFETIME_MS} ms after it")
    return body


def read_reply(frame, key):
    """A reply that is signed and well formed, or `Refused`."""
    body = _read(frame, key, MAX_REPLY_BYTES, _REPLY, REPLIES)
    payload = body["payload"]
    if body["type"] in ("FILLED", "PARTIAL"):
        missing = Decimal(payload["requested_volume"]) - Decimal(payload["volume"])
        if missing < 0 or (missing == 0) != (body["type"] == "FILLED"):
            raise Refused("malformed", "FILLED is the whole volume, PARTIAL less")
    return body


def id_of(frame):
    """The id of a frame that was refused, if it has one that can be read."""
    try:
        body = parse(frame, MAX_REQUEST_BYTES)
    except Refused:
        return None
    found = body.get("id") if isinstance(body, dict) else None
    return found if is_id(found) else None


def reply(frame, request_id, kind, payload, now, key):
    """The bytes of a reply to a frame. The hash ties it to exactly these bytes: nobody can pass it off as the answer to others."""
    body = {
        "version": VERSION,
        "type": kind,
        "id": request_id,
        "request_sha256": hashlib.sha256(frame).hexdigest(),
        "sent_at": now,
        "payload": payload,
    }
    return sign(body, key)
