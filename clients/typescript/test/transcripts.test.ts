// Plays the transcripts that the clients of all languages share: tests/clients/transcripts/*.json.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { ConnectionLost, type Keys, type Problem, type Push, type Reply, RouteError, StreamOverflow } from "../src/index.js";
import { settle, World, type Frame } from "./harness.js";

type Step = Record<string, unknown>;

interface Transcript {
  readonly name: string;
  readonly keys?: Keys;
  readonly tokens?: (string | null)[];
  readonly steps: Step[];
}

interface Named {
  readonly as: string;
  readonly route: string;
  readonly payload?: unknown;
  readonly times?: number;
  readonly timeout?: number | null;
}

interface Answer extends Named {
  readonly reply?: unknown;
  readonly refuse?: { readonly status: number; readonly problem: Problem };
  readonly fail?: string;
  readonly later?: boolean;
}

interface Range {
  readonly route: string;
  readonly from: number;
  readonly to: number;
  readonly frame: Frame;
}

const FOLDER = "../../tests/clients/transcripts/";

const milliseconds = (seconds: unknown): number => Math.round((seconds as number) * 1000);

/** `value` with `n` in place of `$n`. */
function numbered(value: unknown, n: number): unknown {
  if (value === "$n") return n;
  if (typeof value == "string") return value.replaceAll("$n", String(n));
  if (!value || typeof value != "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, numbered(item, n)]));
}

/** The members of `actual` that `expected` has, too. */
function partOf(actual: Step, expected: object): Step {
  return Object.fromEntries(Object.keys(expected).map((key) => [key, actual[key]]));
}

/** How a call has ended, as transcripts have it. */
function failure(error: unknown): Step {
  if (error instanceof RouteError) {
    const { status, problem, retryAfter } = error;
    return { error: { status, code: problem.code, retry_after: retryAfter } };
  }
  if (error instanceof ConnectionLost) return { lost: { sent: error.sent, code: error.why?.code } };
  const { name } = error as Error;
  if (name == "TimeoutError") return { timeout: true };
  if (name == "AbortError") return { cancelled: true };
  throw error;
}

async function play({ keys, tokens, steps }: Transcript): Promise<void> {
  const refused: boolean[] = [];
  const world: World = new World({
    ...(keys && { keys }),
    ...(tokens && { token: (again: boolean) => tokens[refused.push(again) - 1]! }),
  });
  const pending = new Set<string>();
  const settled = new Map<string, Step>();
  const controls = new Map<string, AbortController>();
  const seen = new Map<string, unknown[]>();
  const leaving = new Map<string, () => unknown>();
  const later = new Map<string, (reply: unknown) => void>();
  const reported: unknown[] = [];
  globalThis.reportError = (error: unknown) => reported.push(error);
  const listen = (name: string): unknown[] => seen.set(name, seen.get(name) ?? []).get(name)!;
  const options = ({ timeout, ...call }: Named) => ({
    ...call,
    ...(timeout !== undefined && { timeout: timeout && milliseconds(timeout) }),
  });

  function call(name: string, step: Named, n: number): void {
    const control = new AbortController();
    controls.set(name, control);
    pending.add(name);
    const settle = (outcome: Step) => {
      assert.ok(pending.delete(name), `${name} has settled twice`);
      settled.set(name, outcome);
    };
    const given = { ...options(step), signal: control.signal };
    world.socket.request(step.route, numbered(step.payload, n), given).then(
      ({ payload, status, headers }: Reply) => settle({ reply: payload, status, headers }),
      (error: unknown) => settle(failure(error)),
    );
  }

  function subscribe(name: string, topic: string): void {
    const heard = listen(name);
    const room = world.socket.subscribe(topic, {
      snapshot: (snapshot) => heard.push(["snapshot", snapshot]),
      push: ({ route, payload }) => heard.push(["push", route, payload]),
      ended: ({ code }) => heard.push(["ended", code]),
    });
    leaving.set(name, () => room.unsubscribe());
  }

  function answer({ as, reply, refuse, fail, later: isLater }: Answer, { route, payload, headers }: Push): unknown {
    listen(as).push(["ask", route, payload, headers["Timeout"]]);
    if (refuse) throw new RouteError(route, refuse.status, refuse.problem, {});
    if (fail) throw new Error(fail);
    return isLater ? new Promise((resolve) => later.set(as, resolve)) : reply;
  }

  async function read(step: Named): Promise<void> {
    const heard = listen(step.as);
    const stream = world.socket.stream(step.route, step.payload, options(step));
    leaving.set(step.as, () => stream.return());
    try {
      for await (const item of stream) heard.push(["item", item]);
      heard.push(["end"]);
    } catch (error) {
      if (error instanceof RouteError) heard.push(["error", error.status, error.problem.code]);
      else if (error instanceof ConnectionLost) heard.push(["lost", error.sent]);
      else if (error instanceof StreamOverflow) heard.push(["overflow"]);
      else heard.push(Object.keys(failure(error)));
    }
  }

  /** Calls `act` with the name and the number of each of a step's `times`. */
  function each(step: Named, act: (name: string, n: number) => void): void {
    for (let n = 1; n <= (step.times ?? 1); n++) act(step.times ? `${step.as}${n}` : step.as, n);
  }

  const verbs: Record<string, (argument: never, step: Step) => unknown> = {
    connect: () => world.socket.connect(),
    accept: () => world.ws.accept(),
    open: () => world.open(),
    close: () => world.socket.close(),
    drop: ({ code, reason = "" }: { code: number; reason?: string }) => world.ws.drop(code, reason),
    wait: (seconds: number) => world.clock.advance(milliseconds(seconds)),
    sleep: (seconds: number) => world.clock.sleep(milliseconds(seconds)),
    async alive(seconds: number) {
      for (let left = milliseconds(seconds); left > 0; left -= 20_000) {
        await world.clock.advance(Math.min(20_000, left));
        await world.ws.receive({ route: "news", payload: null });
      }
    },
    state(state: string, { why }) {
      assert.equal(world.socket.state, state);
      if (!why) return;
      const { retry_after, reconnect, ...rest } = why as Step;
      const { code, reason, reconnect: again, retryAfter } = world.socket.why!;
      assert.deepEqual({ code, reason, again, retryAfter }, { ...rest, again: reconnect, retryAfter: retry_after });
    },
    sockets: (number: number) => assert.equal(world.sockets.length, number),
    refusals: (refusals: boolean[]) => assert.deepEqual(refused, refusals),
    out: (frames: Frame[]) => assert.deepEqual(world.ws.take(), frames),
    sent({ route, from, to }: Range, { behind = [] }) {
      const frames = world.ws.take();
      const count = to - from + 1;
      const expected = Array.from({ length: count }, (_, n) => [route, from + n]);
      assert.deepEqual(frames.slice(0, count).map(({ route, uuid }) => [route, uuid]), expected);
      assert.deepEqual(frames.slice(count), behind);
    },
    in: (frames: Frame[]) => world.ws.receive(...frames),
    async in_range({ from, to, frame }: Range) {
      for (let n = from; n <= to; n++) await world.ws.receive(numbered(frame, n) as Frame);
    },
    call: (step: Named) => each(step, (name, n) => call(name, step, n)),
    cancel: (name: string) => controls.get(name)!.abort(),
    notify: ({ route, payload, written }: Named & { written: boolean }) =>
      assert.equal(world.socket.notify(route, payload), written),
    settled(outcomes: Record<string, Step>) {
      const expected = new Map<string, Step>();
      for (const [name, outcome] of Object.entries(outcomes)) {
        const [, base, from, to] = /^([a-z]+)(\d+)\.\.\1(\d+)$/.exec(name) ?? [];
        if (base === undefined) expected.set(name, outcome);
        else for (let n = +from!; n <= +to!; n++) expected.set(`${base}${n}`, numbered(outcome, n) as Step);
      }
      assert.deepEqual([...settled.keys()].sort(), [...expected.keys()].sort());
      for (const [name, outcome] of expected) {
        const actual = partOf(settled.get(name)!, outcome);
        for (const kind of ["error", "lost"]) {
          if (actual[kind]) actual[kind] = partOf(actual[kind] as Step, outcome[kind] as Step);
        }
        assert.deepEqual(actual, outcome, name);
      }
      settled.clear();
    },
    stream: (step: Named) => void read(step),
    subscribe: (step: Named & { topic: string }) =>
      each(step, (name, n) => subscribe(name, numbered(step.topic, n) as string)),
    listen({ as, route }: Named) {
      const heard = listen(as);
      const off = world.socket.on(route, (payload, push) => heard.push(["push", push.route, payload]));
      leaving.set(as, off);
    },
    answer(step: Answer) {
      listen(step.as);
      leaving.set(step.as, world.socket.answer(step.route, (_, push) => answer(step, push)));
    },
    finish: ({ as, reply }: Answer) => later.get(as)!(reply),
    reported: (number: number) => assert.equal(reported.splice(0).length, number),
    leave: (name: string) => leaving.get(name)!(),
    heard(heard: Record<string, unknown[]>) {
      for (const [name, expected] of Object.entries(heard)) assert.deepEqual(seen.get(name)!.splice(0), expected, name);
    },
  };

  for (const step of steps) {
    const [verb, argument] = Object.entries(step)[0]!;
    await verbs[verb]!(argument as never, step);
    await settle();
  }
  world.socket.close();
  await settle();
}

for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".json"))) {
  describe(file, () => {
    const transcripts = JSON.parse(readFileSync(FOLDER + file, "utf8")) as Transcript[];
    for (const transcript of transcripts) test(transcript.name, () => play(transcript));
  });
}
