"""HTTP clients of Python, each as its users have it: one session, one push after the other."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import aiohttp
import httpx
import requests

from tests.interop.pushes import Case, Result

PAUSE_S = 0.01
TIMEOUT_S = 30


async def by_requests(url: str, plan: Sequence[Case]) -> list[Result]:
    return await asyncio.to_thread(_by_requests, url, plan)


def _by_requests(url: str, plan: Sequence[Case]) -> list[Result]:
    results = []
    with requests.Session() as session:
        session.trust_env = False
        for case in plan:
            headers = {"Content-Type": case.content_type}
            data = case.body if case.mode.endswith("-one") else _slowly(case.parts)
            answer = session.post(url + case.path, data=data, headers=headers, timeout=TIMEOUT_S)
            after = session.get(url + "/healthz", timeout=TIMEOUT_S)
            results.append(Result(answer.status_code, answer.content, after.status_code, after.content))
    return results


def _slowly(parts: Sequence[bytes]) -> Iterator[bytes]:
    for number, part in enumerate(parts):
        if number:
            time.sleep(PAUSE_S)
        yield part


async def by_httpx(url: str, plan: Sequence[Case]) -> list[Result]:
    results = []
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
        for case in plan:
            content = case.body if case.mode.endswith("-one") else _written(case.parts)
            answer = await client.post(case.path, content=content, headers=_headers(case))
            after = await client.get("/healthz")
            results.append(Result(answer.status_code, answer.content, after.status_code, after.content))
    return results


async def by_aiohttp(url: str, plan: Sequence[Case]) -> list[Result]:
    results = []
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session:
        for case in plan:
            data = case.body if case.mode.endswith("-one") else _written(case.parts)
            async with session.post(case.path, data=data, headers=_headers(case)) as answer:
                body = await answer.read()
            async with session.get("/healthz") as after:
                results.append(Result(answer.status, body, after.status, await after.read()))
    return results


async def _written(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for number, part in enumerate(parts):
        if number:
            await asyncio.sleep(PAUSE_S)
        yield part


def _headers(case: Case) -> dict[str, str]:
    headers = {"Content-Type": case.content_type}
    return headers | {"Content-Length": str(len(case.body))} if case.mode.endswith("-halves") else headers
