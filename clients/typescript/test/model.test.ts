// The state machine against a model of it, over random orders of what a page, a network and a server can do.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ConnectionLost, RouteError, type State } from "../src/index.js";
import { settle, World } from "./harness.js";

interface Model {
  state: State;
  /** Whether the server has said when to come back. */
  patient: boolean;
  sockets: number;
  /** Calls that were made, by number, and what the model says of each. */
  calls: { sent: boolean; settled: "no" | "reply" | "sent" | "unsent" }[];
}

/** The outcome of each call of the real socket; two of one call would be an error. */
class Real extends World {
  readonly outcomes: string[] = [];

  async ask(): Promise<void> {
    const number = this.outcomes.push("no") - 1;
    const settled = (outcome: string) => {
      assert.equal(this.outcomes[number], "no", "settled twice");
      this.outcomes[number] = outcome;
    };
    this.socket.call("x", number, { timeout: null }).then(
      () => settled("reply"),
      (error: unknown) => {
        assert.ok(error instanceof ConnectionLost || error instanceof RouteError);
        settled(error instanceof ConnectionLost && error.sent ? "sent" : "unsent");
      },
    );
    await settle();
  }
}

/** How the model goes on when there is no connection any longer. */
function lose(model: Model, state: State): void {
  model.state = state;
  for (const call of model.calls) {
    if (call.settled !== "no") continue;
    if (call.sent) call.settled = "sent";
    else if (state === "closed") call.settled = "unsent";
  }
}

abstract class Step implements fc.AsyncCommand<Model, Real> {
  abstract check(model: Readonly<Model>): boolean;
  abstract apply(model: Model, real: Real): Promise<void>;

  async run(model: Model, real: Real): Promise<void> {
    await this.apply(model, real);
    await settle();
    assert.equal(real.socket.state, model.state);
    assert.equal(real.sockets.length, model.sockets);
    assert.deepEqual(
      real.outcomes,
      model.calls.map(({ settled }) => settled),
    );
    const usable = real.sockets.filter(({ readyState }) => readyState < 2);
    assert.ok(usable.length <= 1, "one WebSocket at a time");
    const numbers = real.sockets.flatMap(({ frames }) => frames.filter(({ route }) => route === "x"));
    assert.equal(new Set(numbers.map(({ payload }) => payload)).size, numbers.length, "nothing is sent twice");
    if (model.state === "closed") assert.equal(real.clock.pending, 0, "no timer outlives the socket");
  }

  toString(): string {
    return this.constructor.name;
  }
}

class Connect extends Step {
  check = () => true;

  async apply(model: Model, real: Real): Promise<void> {
    real.socket.connect();
    if (["idle", "closed"].includes(model.state) || (model.state === "waiting" && !model.patient)) {
      model.state = "connecting";
      model.patient = false;
      ++model.sockets;
    }
  }
}

class Accept extends Step {
  check = ({ state }: Readonly<Model>) => state === "connecting";

  async apply(model: Model, real: Real): Promise<void> {
    await real.ws.accept();
    model.state = "open";
    for (const call of model.calls) if (call.settled === "no") call.sent = true;
  }
}

class Call extends Step {
  // Below the bounds of window and queue, which have tests of their own.
  check = ({ calls }: Readonly<Model>) => calls.filter(({ settled }) => settled === "no").length < 30;

  async apply(model: Model, real: Real): Promise<void> {
    await real.ask();
    const sent = model.state === "open";
    model.calls.push({ sent, settled: model.state === "closed" ? "unsent" : "no" });
  }
}

class Answer extends Step {
  check = ({ state, calls }: Readonly<Model>) => state === "open" && calls.some((call) => call.settled === "no");

  async apply(model: Model, real: Real): Promise<void> {
    const number = model.calls.findIndex(({ settled }) => settled === "no");
    const frame = real.ws.frames.find(({ payload, route }) => route === "x" && payload === number);
    await real.ws.reply(frame?.["uuid"]);
    model.calls[number]!.settled = "reply";
  }
}

class Drop extends Step {
  constructor(private readonly code: number) {
    super();
  }

  check = ({ state }: Readonly<Model>) => state === "open" || state === "connecting";

  async apply(model: Model, real: Real): Promise<void> {
    await real.ws.drop(this.code);
    lose(model, [4400, 4401, 4403, 4404, 4413].includes(this.code) ? "closed" : "waiting");
  }

  override toString(): string {
    return `Drop(${this.code})`;
  }
}

class Notice extends Step {
  constructor(
    private readonly reconnect: boolean,
    private readonly retryAfter: number | undefined,
  ) {
    super();
  }

  check = ({ state }: Readonly<Model>) => state === "open";

  async apply(model: Model, real: Real): Promise<void> {
    const payload = { code: 1012, reason: "", reconnect: this.reconnect, retry_after: this.retryAfter };
    await real.ws.receive({ route: "CLOSE", payload });
    await real.ws.drop(4503);
    lose(model, this.reconnect ? "waiting" : "closed");
    model.patient = this.reconnect && this.retryAfter !== undefined;
  }

  override toString(): string {
    return `Notice(${this.reconnect}, ${this.retryAfter})`;
  }
}

class Wait extends Step {
  // Longer than any back-off, and shorter than the time after which a connection is dead.
  check = ({ state }: Readonly<Model>) => state === "waiting";

  async apply(model: Model, real: Real): Promise<void> {
    await real.clock.until(() => real.sockets.length > model.sockets);
    model.state = "connecting";
    model.patient = false;
    ++model.sockets;
  }
}

class Silence extends Step {
  check = ({ state }: Readonly<Model>) => state === "open" || state === "connecting";

  async apply(model: Model, real: Real): Promise<void> {
    await real.clock.until(() => real.socket.state === "waiting");
    lose(model, "waiting");
  }
}

class Old extends Step {
  check = ({ sockets }: Readonly<Model>) => sockets > 1;

  async apply(_: Model, real: Real): Promise<void> {
    const old = real.sockets[0]!;
    old.onopen?.({} as never);
    await old.receive({ route: "CLOSE", payload: { code: 4403, reason: "", reconnect: false } });
    old.onclose?.({ code: 4403, reason: "" });
  }
}

class Close extends Step {
  check = () => true;

  async apply(model: Model, real: Real): Promise<void> {
    real.socket.close();
    if (model.state !== "closed") lose(model, "closed");
    model.patient = false;
  }
}

test("the state machine does what its model says", async () => {
  const steps = [
    fc.constant(new Connect()),
    fc.constant(new Accept()),
    fc.constant(new Call()),
    fc.constant(new Answer()),
    fc.constantFrom(1000, 1006, 1011, 4401, 4403, 4408).map((code) => new Drop(code)),
    fc.tuple(fc.boolean(), fc.constantFrom(undefined, 0, 3)).map(([reconnect, after]) => new Notice(reconnect, after)),
    fc.constant(new Wait()),
    fc.constant(new Silence()),
    fc.constant(new Old()),
    fc.constant(new Close()),
  ];
  const runs = Number(process.env["FAST_CHECK_RUNS"] ?? 100);
  await fc.assert(
    fc.asyncProperty(fc.commands(steps, { maxCommands: 40 }), async (commands) => {
      const model: Model = { state: "idle", patient: false, sockets: 0, calls: [] };
      await fc.asyncModelRun(() => ({ model, real: new Real() }), commands);
    }),
    { numRuns: runs },
  );
});
