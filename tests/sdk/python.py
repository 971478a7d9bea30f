"""The official SDKs for Python (and curl) against the real binary and the scripted provider: what a user would see.

Each function below is one test; its name is the sentence it shows. Closes with `N passed, N failed`.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request

import anthropic
import openai

BINARY = sys.argv[1]
KEY = "client-key-for-tests-0123456789"
PROCESSES = []


class Lines:
    """The lines of a process, as they come."""

    def __init__(self, stream):
        self.lines, self.news, self.ended = [], threading.Condition(), False
        threading.Thread(target=self.follow, args=(stream,), daemon=True).start()

    def follow(self, stream):
        for line in stream:
            with self.news:
                self.lines.append(line.rstrip())
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def find(self, pattern):
        with self.news:
            self.news.wait_for(lambda: self.ended or any(re.search(pattern, line) for line in self.lines), 30)
            for line in self.lines:
                if match := re.search(pattern, line):
                    return match
            raise AssertionError(f"{pattern!r} never came:\n" + "\n".join(self.lines))


class Provider:
    """The scripted provider, by its command."""

    def __init__(self, *rules):
        command = [BINARY, "provider", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        PROCESSES.append(self.process)
        self.url = Lines(self.process.stdout).find(r"listening on (http://\S+)").group(1)
        if rules:
            self.call("POST", "/_script", list(rules))

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def requests(self):
        """How many requests each credential got."""
        credentials = json.loads(self.call("GET", "/_ledger"))["credentials"]
        return {name: entry["requests"] for name, entry in credentials.items()}


class Authpool:
    """The real binary before a provider."""

    def __init__(self, provider, dialect, names, pool=""):
        base = provider.url + ("/v1" if dialect == "openai" else "")
        text = f"""
            [server]
            listen = ["127.0.0.1:0"]
            [[provider]]
            id = "provider"
            dialect = "{dialect}"
            base_url = "{base}"
            [[client]]
            id = "tester"
            key = {{ env = "CLIENT_KEY" }}
            [[pool]]
            id = "pool"
            subscriptions = {json.dumps(names)}
            {pool}
        """
        environment = dict(os.environ, CLIENT_KEY=KEY)
        for name in names:
            text += f'\n[[subscription]]\nid = "{name}"\nprovider = "provider"\ncredential = {{ env = "CRED_{name}" }}\n'
            environment[f"CRED_{name}"] = f"cred-{name}"
        self.file = tempfile.NamedTemporaryFile("w", suffix=".toml")
        self.file.write(text)
        self.file.flush()
        command = [BINARY, "serve", "--config", self.file.name]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        PROCESSES.append(self.process)
        address = Lines(self.process.stderr).find(r" listening address=(\S+)").group(1)
        self.url = f"http://{address}"

    def openai(self, **options):
        return openai.OpenAI(base_url=self.url + "/v1", api_key=KEY, **options)

    def anthropic(self, **options):
        return anthropic.Anthropic(base_url=self.url, api_key=KEY, **options)


HELLO = [{"role": "user", "content": "hello"}]
OPENAI = {"error": {"message": "Rate limit reached for requests", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
ANTHROPIC = {"type": "error", "error": {"type": "rate_limit_error", "message": "This request would exceed your rate limit."}}
DIALECTS = [("openai", OPENAI), ("anthropic", ANTHROPIC)]


def limit(credential, body, seconds=300, times=None):
    headers = {"retry-after": str(seconds), "content-type": "application/json"}
    answer = {"status": 429, "headers": headers, "body": json.dumps(body)}
    return {"match": {"credential": credential}, "times": times, "do": answer}


def ask_openai(client):
    """Every way in which a program asks, streamed and not."""
    answer = client.chat.completions.create(model="gpt-x", messages=HELLO)
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens > 0
    text, usage = "", None
    options = {"include_usage": True}
    for chunk in client.chat.completions.create(model="gpt-x", messages=HELLO, stream=True, stream_options=options):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    assert text and usage.total_tokens > 0
    answer = client.responses.create(model="gpt-x", input="hello")
    assert answer.output_text and answer.usage.total_tokens > 0
    kinds = [event.type for event in client.responses.create(model="gpt-x", input="hello", stream=True)]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds


def ask_anthropic(client):
    answer = client.messages.create(model="claude-x", max_tokens=32, messages=HELLO)
    assert answer.content[0].text and answer.usage.output_tokens > 0
    with client.messages.stream(model="claude-x", max_tokens=32, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text and final.usage.output_tokens > 0
    assert client.messages.count_tokens(model="claude-x", messages=HELLO).input_tokens > 0


def ask(pool, dialect, **options):
    if dialect == "openai":
        ask_openai(pool.openai(**options))
    else:
        ask_anthropic(pool.anthropic(**options))


def the_openai_sdk_gets_its_answers():
    pool = Authpool(Provider(), "openai", ["a"])
    ask_openai(pool.openai())
    assert pool.openai().embeddings.create(model="embed-x", input="hello").data[0].embedding
    assert pool.openai().models.list().data


def the_anthropic_sdk_gets_its_answers():
    pool = Authpool(Provider(), "anthropic", ["a"])
    ask_anthropic(pool.anthropic())
    assert pool.anthropic().models.list().data


def a_response_can_be_continued_and_fetched_only_where_it_was_made():
    pool = Authpool(Provider(), "openai", ["a", "b", "c"])
    client = pool.openai(max_retries=0)
    for _ in range(6):
        first = client.responses.create(model="gpt-x", input="hello")
        assert client.responses.retrieve(first.id).id == first.id
        assert client.responses.create(model="gpt-x", input="more", previous_response_id=first.id).output_text
    try:
        client.responses.retrieve("resp_of_nobody")
        raise AssertionError("served")
    except openai.NotFoundError as error:
        assert error.response.headers["x-authpool-code"] == "not_found"


def a_wrong_key_is_an_authentication_error_of_the_sdks():
    provider = Provider()
    wrong = "wrong-key-wrong-key-wrong-key"
    try:
        openai.OpenAI(base_url=Authpool(provider, "openai", ["a"]).url + "/v1", api_key=wrong).models.list()
        raise AssertionError("served")
    except openai.AuthenticationError as error:
        assert error.code == "unauthorised", error.code
    try:
        anthropic.Anthropic(base_url=Authpool(provider, "anthropic", ["a"]).url, api_key=wrong).models.list()
        raise AssertionError("served")
    except anthropic.AuthenticationError:
        pass


def the_sdks_never_see_a_limit_that_another_subscription_does_not_have():
    for dialect, body in DIALECTS:
        provider = Provider(limit("cred-a", body))
        pool = Authpool(provider, dialect, ["a", "b"])
        for _ in range(5):
            ask(pool, dialect, max_retries=0)
        counts = provider.requests()
        assert counts["cred-a"] == 1, counts
        assert counts["cred-b"] >= 15, counts


def an_error_event_at_the_start_of_a_stream_fails_over_unseen():
    provider = Provider({"match": {"credential": "cred-a"}, "times": None, "do": {"fault": "error_event_first"}})
    pool = Authpool(provider, "anthropic", ["a", "b"])
    for _ in range(3):
        with pool.anthropic(max_retries=0).messages.stream(model="claude-x", max_tokens=32, messages=HELLO) as stream:
            assert "".join(stream.text_stream)
    pool = Authpool(provider, "openai", ["a", "b"])
    for _ in range(3):
        events = pool.openai(max_retries=0).responses.create(model="gpt-x", input="hello", stream=True)
        assert [event.type for event in events][-1] == "response.completed"


def a_short_limit_of_the_whole_pool_is_waited_out():
    provider = Provider(limit("cred-a", OPENAI, 2, 1), limit("cred-b", OPENAI, 2, 1))
    began = time.monotonic()
    ask_openai(Authpool(provider, "openai", ["a", "b"]).openai(max_retries=0))
    assert time.monotonic() - began >= 2


def a_limit_of_300_seconds_makes_the_sdks_try_exactly_once():
    for dialect, body in DIALECTS:
        provider = Provider(limit("cred-a", body))
        pool = Authpool(provider, dialect, ["a"])
        began = time.monotonic()
        try:
            ask(pool, dialect)
            raise AssertionError("served")
        except (openai.RateLimitError, anthropic.RateLimitError) as error:
            headers = error.response.headers
            assert 300 <= int(headers["retry-after"]) <= 305, headers
            assert headers["x-should-retry"] == "false", headers
            assert headers["x-authpool-code"] == "pool_limited", headers
        assert time.monotonic() - began < 3
        assert sum(provider.requests().values()) == 1, provider.requests()


def a_refusal_of_a_short_limit_is_obeyed_by_the_sdks():
    for dialect, body in DIALECTS:
        provider = Provider(limit("cred-a", body, 3, 1))
        pool = Authpool(provider, dialect, ["a"], pool='max_wait = "0s"')
        began = time.monotonic()
        ask(pool, dialect)
        assert 3 <= time.monotonic() - began < 6
        assert provider.requests()["cred-a"] >= 2, provider.requests()


def curl_gets_its_answers_streamed_and_not():
    pool = Authpool(Provider(limit("cred-a", OPENAI)), "openai", ["a", "b"])
    for stream in ["false", "true"]:
        out = curl(pool, stream, "-N", "-w", "\n%{http_code}")
        assert out.endswith("\n200"), out
        assert ("data: [DONE]" in out) == (stream == "true"), out


def curl(pool, stream="false", *options):
    body = '{"model":"gpt-x","stream":%s,"messages":[{"role":"user","content":"hello"}]}' % stream
    command = ["curl", "-sSf", *options, "-H", f"authorization: Bearer {KEY}"]
    command += ["-H", "content-type: application/json", "-d", body, pool.url + "/v1/chat/completions"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def clients_at_20_a_second_see_only_200_while_one_subscription_is_limited():
    """Acceptance 1 by the SDK and curl, for 10 s; the full 30 s are a test of their own, without SDKs."""
    provider = Provider(limit("cred-a", OPENAI, 7))
    pool = Authpool(provider, "openai", ["a", "b", "c"])
    client, failures, threads = pool.openai(max_retries=0), [], []

    def one(number):
        try:
            if number % 10 == 9:
                curl(pool)
            elif number % 2:
                list(client.chat.completions.create(model="gpt-x", messages=HELLO, stream=True))
            else:
                client.chat.completions.create(model="gpt-x", messages=HELLO)
        except Exception as error:  # each is counted, whatever it is
            failures.append(repr(error))

    began = time.monotonic()
    for number in range(200):
        threads.append(threading.Thread(target=one, args=(number,)))
        threads[-1].start()
        time.sleep(max(0, began + number / 20 - time.monotonic()))  # the offered load, not a synchronisation
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert 1 <= provider.requests()["cred-a"] <= 4, provider.requests()


TESTS = [
    the_openai_sdk_gets_its_answers,
    the_anthropic_sdk_gets_its_answers,
    a_response_can_be_continued_and_fetched_only_where_it_was_made,
    a_wrong_key_is_an_authentication_error_of_the_sdks,
    the_sdks_never_see_a_limit_that_another_subscription_does_not_have,
    an_error_event_at_the_start_of_a_stream_fails_over_unseen,
    a_short_limit_of_the_whole_pool_is_waited_out,
    a_limit_of_300_seconds_makes_the_sdks_try_exactly_once,
    a_refusal_of_a_short_limit_is_obeyed_by_the_sdks,
    curl_gets_its_answers_streamed_and_not,
    clients_at_20_a_second_see_only_200_while_one_subscription_is_limited,
]


def main():
    passed = failed = 0
    for test in TESTS:
        try:
            test()
            passed += 1
            print(f"ok   {test.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL {test.__name__}\n{traceback.format_exc()}", flush=True)
        finally:
            while PROCESSES:
                process = PROCESSES.pop()
                process.kill()
                process.wait()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
