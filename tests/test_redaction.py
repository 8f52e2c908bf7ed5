"""Messages without the secrets of the URIs in them, and with what a person needs of these."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike import redaction

# A text or URI, and what is left of it. No secret holds anything but these words and signs.
CASES = [
    ("no picture at https://u:pw@host/a.jpg?X-Amz-Signature=ab", "no picture at https://…@host/a.jpg?…"),
    ("'https://host/a.jpg?sig=s%2B' and http://token@h/b", "'https://host/a.jpg?…' and http://…@h/b"),
    ("'https://a/x?sig=1','https://b/y'", "'https://a/x?…','https://b/y'"),
    ("https://host/a.jpg#access_token=ab", "https://host/a.jpg#…"),
    ("abfs://photos@shop.dfs.core.windows.net/a", "abfs://photos@shop.dfs.core.windows.net/a"),
    ("abfs://photos:word@shop/a", "abfs://…@shop/a"),
    ("wasbs://photos@shop/a?sv=1&sig=ab", "wasbs://photos@shop/a?…"),
    ("/a.jpg?x-amz-signature=abc&b=1", "/a.jpg?x-amz-signature=…&b=1"),
    ("/a.jpg%3Fx=1%26sig%3Dabc /a.jpg%253fsig=abc", "/a.jpg%3Fx=1%26sig%3D… /a.jpg%253fsig=…"),
    ("https://host/a.jpg;jsessionid=abc", "https://host/a.jpg;jsessionid=…"),
    ("s3://key:secret@bucket/x", "s3://…@bucket/x"),
    ("S3A://KEY:se/cr+et=@bucket/x", "S3A://…@bucket/x"),
    ("s3a://key:12345/ab@bucket/x", "s3a://…@bucket/x"),
    ("https://user:p%40s%2Fs%3A@host/x", "https://…@host/x"),
    ("https://user:p@s/s:@host/x", "https://…@host/x"),
    ("https://user:p#a?s@host/x", "https://…@host/x"),
    ("https://user:p@a?s@host/x", "https://…"),  # which of them ends the password?
    ("https://user%3Apw%40host/x", "https://…@host/x"),
    ("https://a:https://user:pw@b:pw@host/x", "https://…@host/x"),
    ("smb://shop;user:pw@host/x", "smb://…@host/x"),
    ("https://proxy/https%3A%2F%2Fuser%3Apw%40host%2Fx%3Fsig%3Dab", "https://proxy/https://…@host/x?…"),
    ("https://proxy/https://user:pw@host/x", "https://proxy/https://…@host/x"),
    ("https://proxy?to=https://user:pw@host/x&k=ab", "https://proxy?…"),
    ("https://user:pass word@host/x?a=b end", "https://…@host/x?… end"),
    ("https://user:pa\nss@host/x", "https://…@host/x"),
    ("https://user:pass wo", "https://… wo"),
    ("https://user:passw…", "https://…"),
    ("https:\\\\user:pw@host\\x", "https:\\\\…@host\\x"),
    ("https:/user:pw@host/x", "https:/…@host/x"),
    ("file://user:pw@host/x", "file://…@host/x"),
    ("see //user:pw@host/x", "see //…@host/x"),
    ("http://user:pw@[::1]:80/x", "http://…@[::1]:80/x"),
    ("jdbc:oracle:thin:scott/tiger@//host:1521/x", "jdbc:oracle:thin:…@//host:1521/x"),
    ("jdbc:sqlserver://host:1433;user=sa;password=pw;x=1", "jdbc:sqlserver://host:1433;user=sa;password=…;x=1"),
    ("AccountName=shop;AccountKey=ab+/==;x", "AccountName=shop;AccountKey=…;x"),
    ("fs.s3a.secret.key=ab 1", "fs.s3a.secret.key=… 1"),
    ('{"password": "ab", "x": 1}', '{"password": "…", "x": 1}'),
    ("bad data:image/png;base64,iVBORw0KGgo= here", "bad data:image/png;base64,… here"),
    # Nothing secret.
    ("https://host/a@2x.jpg", "https://host/a@2x.jpg"),
    ("https://host:8080/a@2x.jpg", "https://host:8080/a@2x.jpg"),
    ("http://[::1]:80/a@2x.jpg: refused", "http://[::1]:80/a@2x.jpg: refused"),
    ("no answer of http://127.0.0.1:9000: timed out", "no answer of http://127.0.0.1:9000: timed out"),
    ("file:///a:b@c/what?.jpg", "file:///a:b@c/what?.jpg"),
    ("--set similar.k=3", "--set similar.k=3"),
    ("what? nothing secret", "what? nothing secret"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "clean"), CASES)
def test_secrets_of_a_uri_are_cut_from_a_message(text: str, clean: str) -> None:
    assert redaction.redacted(text) == clean
    assert redaction.redacted(clean) == clean


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        ("https://host/x?sig=a b'c\"d\ne", "https://host/x?…"),
        ("https://user:a b'c@host/x y.jpg", "https://…@host/x y.jpg"),
        ("user:pw@host/x", "…@host/x"),
        ("s3:key:secret@bucket/x", "…@bucket/x"),
        ("data:image/png;base64,iV BO\nRw", "data:image/png;base64,…"),
        ("images/a b@2x.jpg", "images/a b@2x.jpg"),
    ],
)
def test_blanks_and_quotes_of_a_value_are_part_of_its_secret(value: str, clean: str) -> None:
    assert redaction.redacted_uri(value) == clean


@pytest.mark.parametrize(
    ("label", "clean"),
    [
        ("https://shop/p?id=5#top", "https://shop/p?id=5#top"),
        ("https://shop/p?id=5&sig=a'b&x=1", "https://shop/p?id=5&sig=…&x=1"),
        ("https://shop/p?to=https://user:pw@host", "https://shop/p?to=https://…@host"),
    ],
)
def test_address_that_is_an_id_keeps_its_query_but_for_what_is_named_a_secret(label: str, clean: str) -> None:
    assert redaction.redacted(label, queries=False) == clean


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("/data/a:b@c", False),
        ("s3://bucket/photos#1", False),
        ("hdfs://node:8020/x", False),
        ("abfs://photos@shop.dfs.core.windows.net", False),
        ("file:///what?a=b", False),
        ("s3a://key:se/cret@bucket", True),
        ("http://host/x?a=b", True),
        ("https://host/x#access_token=b", True),
    ],
)
def test_settings_with_a_secret_are_told_from_others(value: str, secret: bool) -> None:
    assert redaction.has_secret(value) is secret


words = st.text(string.ascii_letters + string.digits + "-_.~%", min_size=1, max_size=20)
secrets = st.text(string.ascii_letters + string.digits, min_size=12, max_size=30)


@given(st.sampled_from(["http", "https", "s3"]), words, secrets, secrets, words)
def test_no_secret_is_left_in_any_surrounding_text(scheme: str, host: str, user: str, query: str, around: str) -> None:
    text = f"{around} <{scheme}://{user}:{user}@{host}/{around}?a={query}&b={query}> {around}"
    clean = redaction.redacted(text)
    assert user not in clean.replace(around, "").replace(host, "")
    assert query not in clean.replace(around, "").replace(host, "")


@given(
    st.lists(st.sampled_from(["https://", "u:p@", "//", ":", "/", "@", "?", "%3a%2F", "data:", ",", "sig=", " ", "'"]))
)
def test_what_is_clean_stays_as_it_is(parts: list[str]) -> None:
    clean = redaction.redacted("".join(parts))
    assert redaction.redacted(clean) == clean


@pytest.mark.parametrize("unit", ["a.", "://", "a:b://", "https://u:", "data:;", "sig=", "%3a%2f", "a@", "'", "u:@ "])
def test_text_of_a_megabyte_costs_linear_time(unit: str) -> None:
    """With time that grows with the square, a test of these would take hours."""
    for redact in (redaction.redacted, redaction.redacted_uri):
        redact(unit * (300_000 // len(unit)))
