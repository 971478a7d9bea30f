// The official SDKs for Node against the real binary and the scripted provider. Each function is one test; its name is
// the sentence it shows. Closes with `N passed, N failed`.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const binary = resolve(process.argv[2]);
const key = "client-key-for-tests-0123456789";
const processes = [];

function start(args, environment, output, pattern) {
  return new Promise((found, failed) => {
    const child = spawn(binary, args, { env: { ...process.env, ...environment } });
    processes.push(child);
    let text = "";
    child[output].on("data", (data) => {
      text += data;
      const match = text.match(pattern);
      if (match) found(match[1]);
    });
    child.on("exit", (code) => failed(new Error(`exit code ${code}: ${text}`)));
  });
}

async function provider(...rules) {
  const url = await start(["provider", "--listen", "127.0.0.1:0"], {}, "stdout", /listening on (http:\/\/\S+)/);
  if (rules.length) await fetch(`${url}/_script`, { method: "POST", body: JSON.stringify(rules) });
  return url;
}

async function requests(url) {
  const { credentials } = await (await fetch(`${url}/_ledger`)).json();
  return Object.fromEntries(Object.entries(credentials).map(([name, entry]) => [name, entry.requests]));
}

async function authpool(url, dialect, names) {
  let text = `[server]\nlisten = ["127.0.0.1:0"]\n[[provider]]\nid = "provider"\ndialect = "${dialect}"\n`;
  text += `base_url = "${url}${dialect === "openai" ? "/v1" : ""}"\n`;
  text += `[[client]]\nid = "tester"\nkey = { env = "CLIENT_KEY" }\n`;
  text += `[[pool]]\nid = "pool"\nsubscriptions = ${JSON.stringify(names)}\n`;
  const environment = { CLIENT_KEY: key };
  for (const name of names) {
    text += `[[subscription]]\nid = "${name}"\nprovider = "provider"\ncredential = { env = "CRED_${name}" }\n`;
    environment[`CRED_${name}`] = `cred-${name}`;
  }
  const file = join(mkdtempSync(join(tmpdir(), "authpool-")), "authpool.toml");
  writeFileSync(file, text);
  const address = await start(["serve", "--config", file], environment, "stderr", / listening address=(\S+)/);
  return `http://${address}`;
}

const openai = (url, options = {}) => new OpenAI({ baseURL: `${url}/v1`, apiKey: key, ...options });
const anthropic = (url, options = {}) => new Anthropic({ baseURL: url, apiKey: key, ...options });
const messages = [{ role: "user", content: "hello" }];

function limit(credential, seconds, body, times = null) {
  const headers = { "retry-after": String(seconds), "content-type": "application/json" };
  return { match: { credential }, times, do: { status: 429, headers, body: JSON.stringify(body) } };
}

const limits = {
  openai: { error: { message: "Rate limit reached for requests", type: "requests", param: null, code: "rate_limit_exceeded" } },
  anthropic: { type: "error", error: { type: "rate_limit_error", message: "This request would exceed your rate limit." } },
};

async function askOpenai(client) {
  const answer = await client.chat.completions.create({ model: "gpt-x", messages });
  assert(answer.choices[0].message.content && answer.usage.total_tokens > 0);
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model: "gpt-x", messages, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  assert(text);
  assert((await client.responses.create({ model: "gpt-x", input: "hello" })).output_text);
  const kinds = [];
  for await (const event of await client.responses.create({ model: "gpt-x", input: "hello", stream: true })) {
    kinds.push(event.type);
  }
  assert.equal(kinds.at(-1), "response.completed");
}

async function askAnthropic(client) {
  const answer = await client.messages.create({ model: "claude-x", max_tokens: 32, messages });
  assert(answer.content[0].text && answer.usage.output_tokens > 0);
  const final = await client.messages.stream({ model: "claude-x", max_tokens: 32, messages }).finalMessage();
  assert(final.content[0].text && final.usage.output_tokens > 0);
}

const ask = (dialect, url, options) =>
  dialect === "openai" ? askOpenai(openai(url, options)) : askAnthropic(anthropic(url, options));

const tests = {
  async "both SDKs get their answers"() {
    const url = await provider();
    for (const dialect of Object.keys(limits)) await ask(dialect, await authpool(url, dialect, ["a"]));
  },
  async "neither SDK sees a limit that another subscription does not have"() {
    for (const [dialect, body] of Object.entries(limits)) {
      const url = await provider(limit("cred-a", 300, body));
      const pool = await authpool(url, dialect, ["a", "b"]);
      for (let turn = 0; turn < 3; turn++) await ask(dialect, pool, { maxRetries: 0 });
      assert.equal((await requests(url))["cred-a"], 1);
    }
  },
  async "an error event at the start of a stream fails over unseen"() {
    const url = await provider({ match: { credential: "cred-a" }, times: null, do: { fault: "error_event_first" } });
    const first = anthropic(await authpool(url, "anthropic", ["a", "b"]), { maxRetries: 0 });
    for (let turn = 0; turn < 2; turn++) {
      const final = await first.messages.stream({ model: "claude-x", max_tokens: 32, messages }).finalMessage();
      assert(final.content[0].text);
    }
    const second = openai(await authpool(url, "openai", ["a", "b"]), { maxRetries: 0 });
    for (let turn = 0; turn < 2; turn++) {
      const kinds = [];
      for await (const event of await second.responses.create({ model: "gpt-x", input: "hello", stream: true })) {
        kinds.push(event.type);
      }
      assert.equal(kinds.at(-1), "response.completed");
    }
  },
  async "a short limit of the whole pool is waited out"() {
    const url = await provider(limit("cred-a", 2, limits.openai, 1));
    await askOpenai(openai(await authpool(url, "openai", ["a"]), { maxRetries: 0 }));
  },
  async "a limit of 300 seconds makes both SDKs try exactly once"() {
    for (const [dialect, body] of Object.entries(limits)) {
      const url = await provider(limit("cred-a", 300, body));
      const pool = await authpool(url, dialect, ["a"]);
      await assert.rejects(ask(dialect, pool), (error) => error.status === 429);
      assert.deepEqual(await requests(url), { "cred-a": 1 });
    }
  },
};

let passed = 0;
let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    passed += 1;
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n${error.stack}`);
  }
  for (const child of processes.splice(0)) {
    child.removeAllListeners("exit");
    child.kill("SIGKILL");
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
