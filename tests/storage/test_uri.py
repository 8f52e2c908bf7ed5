"""Paths and URIs: what they name, what they may not name."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.storage import uri


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("", "a.jpg", "a.jpg"),
        ("", "/a.jpg", "/a.jpg"),
        ("/shop", "a.jpg", "/shop/a.jpg"),
        ("/shop/", "a.jpg", "/shop/a.jpg"),
        ("/shop//", "b/a.jpg", "/shop/b/a.jpg"),
        ("/", "a.jpg", "/a.jpg"),
        ("/shop", "/a.jpg", "/a.jpg"),
        ("/shop", "file:///a.jpg", "file:///a.jpg"),
        ("/shop", "file:/a.jpg", "file:/a.jpg"),
        ("/shop", "s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("s3://bucket", "a.jpg", "s3://bucket/a.jpg"),
        ("s3://bucket", "50% off.jpg", "s3://bucket/50% off.jpg"),
        ("s3://bucket", "/a.jpg", "/a.jpg"),
        ("https://host/x", "50% off?.jpg", "https://host/x/50%25%20off%3F.jpg"),
        ("file:///x", "50% off.jpg", "file:///x/50%25%20off.jpg"),
        ("images", "a b.jpg", "images/a b.jpg"),
        ("/shop", "../a.jpg", "/shop/../a.jpg"),
    ],
)
def test_root_stands_before_relative_paths_only(root: str, path: str, expected: str) -> None:
    assert uri.join_root(root, path) == expected


@pytest.mark.parametrize(
    ("text", "scheme", "authority", "path"),
    [
        ("/data/a b.jpg", "file", "", "/data/a b.jpg"),
        ("a.jpg", "file", "", "a.jpg"),
        ("/50%20off.jpg", "file", "", "/50%20off.jpg"),
        ("file:///50%20off.jpg", "file", "", "/50 off.jpg"),
        ("file:/a#b?.jpg", "file", "", "/a#b?.jpg"),
        ("FILE://localhost/a.jpg", "file", "", "/a.jpg"),
        ("s3://bucket/50%20off ?#.jpg", "s3", "bucket", "/50%20off ?#.jpg"),
        ("s3a://bucket/a.jpg", "s3", "bucket", "/a.jpg"),
        ("S3N://bucket/a.jpg", "s3", "bucket", "/a.jpg"),
        ("gs://bucket/x/y.jpg", "gs", "bucket", "/x/y.jpg"),
        ("abfss://photos@shop.dfs.core.windows.net/a.jpg", "abfs", "photos@shop.dfs.core.windows.net", "/a.jpg"),
        ("hdfs://node:8020/a.jpg", "hdfs", "node:8020", "/a.jpg"),
        ("hdfs:///a.jpg", "hdfs", "", "/a.jpg"),
        ("http://Host/a%20b.jpg?sig=1", "http", "host:80", "/a b.jpg"),
        ("https://user:word@host:8443", "https", "host:8443", "/"),
        ("https://[::1]/a", "https", "[::1]:443", "/a"),
    ],
)
def test_location_of_a_path_or_uri(text: str, scheme: str, authority: str, path: str) -> None:
    location = uri.parse(text)
    assert (location.scheme, location.authority, location.path) == (scheme, authority, path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        (" \t", "empty"),
        ("ftp://host/a.jpg", "'ftp:'"),
        ("gopher://host/a.jpg", "the stores are"),
        ("://host/a.jpg", "neither"),
        ("file://elsewhere/a.jpg", "another host"),
        ("http:///a.jpg", "no host"),
        ("http://[five.jpg", "not a URL"),
        ("http://host:99999/a", "not a URL"),
        ("http://host/a b.jpg", "percent-encode"),
        ("http://host/a\r\nX-Evil: 1", "percent-encode"),
        ("http://host\\@evil/a", "backslash"),
        ("http://host/a/../b", "'..'"),
        ("http://host/a/%2e%2E/b", "'..'"),
        ("http://host/a%2f..%2Fb", "'..'"),
        ("http://host/a/%252e%252e/b", "'..'"),
        ("http://host/%252525252525252e", "more than five"),
        ("http://host/a/..%5cb", "'..'"),
        ("s3://bucket/a/../b", "'..'"),
        ("s3:///a.jpg", "no bucket"),
        ("s3://key:secret@bucket/a.jpg", "environment"),
        ("abfs://container:secret@account/a.jpg", "environment"),
        ("abfs://container/a.jpg", "container@account"),
        ("s3://bucket?endpoint_override=http://host/a.jpg", "does not name a bucket"),
        ("gs://bucket:443/a.jpg", "does not name a bucket"),
        ("hdfs://node:\u00b2/a.jpg", "host:port"),
        ("http://host:\u00b2/a.jpg", "not a URL"),
        ("http://host:0/a.jpg", "port 0"),
    ],
)
def test_text_that_names_no_location_says_why(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)) as refused:
        uri.parse(text)
    assert word in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "root", "inside"),
    [
        ("s3://bucket/photos/a.jpg", "s3://bucket/photos", True),
        ("s3a://bucket/photos/a.jpg", "s3://bucket/photos/", True),
        ("s3://bucket/photos-old/a.jpg", "s3://bucket/photos", False),
        ("s3://bucket2/photos/a.jpg", "s3://bucket", False),
        ("gs://bucket/photos/a.jpg", "s3://bucket/photos", False),
        ("https://cdn.shop/a.jpg", "https://cdn.shop", True),
        ("https://CDN.shop:443/a.jpg", "https://cdn.shop/", True),
        ("http://cdn.shop/a.jpg", "https://cdn.shop/", False),
        ("https://cdn.shop.evil/a.jpg", "https://cdn.shop", False),
        ("https://cdn.shop@evil/a.jpg", "https://cdn.shop", False),
        ("https://cdn.shop/pub%6Cic/a.jpg", "https://cdn.shop/public", True),
        ("https://cdn.shop/public%2fa.jpg", "https://cdn.shop/public", True),
        ("/etc/passwd", "https://cdn.shop", False),
        ("file:///etc/passwd", "s3://bucket", False),
    ],
)
def test_root_matches_whole_names_in_the_same_store(text: str, root: str, inside: bool) -> None:
    assert uri.is_below(uri.parse(text), root) is inside


@pytest.mark.parametrize(
    ("path", "out"),
    [
        *((path, False) for path in ("a.jpg", "a/../b.jpg", "..a", "/../a.jpg", "file:../a.jpg")),
        *((path, True) for path in ("..", "../a.jpg", "a/../../b.jpg", "./../a")),
    ],
)
def test_relative_path_that_leads_out_of_its_root_is_found(path: str, out: bool) -> None:
    assert uri.leaves_root(path) is out


@given(st.text(max_size=60))
def test_any_text_is_a_location_or_a_value_error(text: str) -> None:
    for given_text in (text, f"http://{text}", f"s3://{text}", f"file:{text}", f"https://host/{text}"):
        try:
            location = uri.parse(given_text)
        except ValueError:
            continue
        assert location.scheme in set(uri.SCHEMES.values())
        if location.scheme != "file":
            assert ".." not in location.path.split("/")


segments = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), min_size=1, max_size=4)


@given(segments)
def test_path_comes_back_from_its_file_uri(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert uri.parse(f"file://{quote(path)}").path == path


@given(segments)
def test_relative_path_is_below_its_root_or_leaves_it(parts: list[str]) -> None:
    path = "/".join(parts)
    if uri.is_uri(path) or "://" in path:
        return
    location = uri.parse(uri.join_root("/the/root", path))
    assert uri.is_below(location, "/the/root") or uri.leaves_root(path)
