import { Routesock, type Clock, type SocketOptions, type WebSocketLike, type AnyApi, type Api } from "../src/index.js";

export type Frame = Record<string, unknown>;

/** Lets promises that are ready settle. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

interface Timer {
  readonly due: number;
  readonly callback: () => void;
}

/** A clock that stands still until a test moves it. */
export class FakeClock implements Clock {
  time = 1_000_000;
  private timers = new Set<Timer>();

  now = (): number => this.time;

  setTimeout = (callback: () => void, delay: number): unknown => {
    const timer = { due: this.time + delay, callback };
    this.timers.add(timer);
    return timer;
  };

  clearTimeout = (timer: unknown): void => {
    this.timers.delete(timer as Timer);
  };

  /** The number of timers that are set. */
  get pending(): number {
    return this.timers.size;
  }

  /** Moves the time by `ms`, and fires what becomes due at its time. */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    await settle();
    for (let timer = this.next(end); timer; timer = this.next(end)) {
      this.time = Math.max(this.time, timer.due);
      await this.fire(timer);
    }
    this.time = end;
    await settle();
  }

  /** Fires one timer after another until `done`, and returns the milliseconds that took. */
  async until(done: () => boolean): Promise<number> {
    const start = this.time;
    await settle();
    while (!done()) {
      const timer = this.next(Infinity);
      if (!timer) throw new Error("No timer is set.");
      this.time = Math.max(this.time, timer.due);
      await this.fire(timer);
    }
    return this.time - start;
  }

  /** Moves the time by `ms` at once, as for a machine that sleeps: what became due fires late. */
  async sleep(ms: number): Promise<void> {
    this.time += ms;
    const due = [...this.timers].filter((timer) => timer.due <= this.time).sort((a, b) => a.due - b.due);
    for (const timer of due) if (this.timers.has(timer)) await this.fire(timer);
    await settle();
  }

  private next(end: number): Timer | undefined {
    return [...this.timers].filter((timer) => timer.due <= end).sort((a, b) => a.due - b.due)[0];
  }

  private async fire(timer: Timer): Promise<void> {
    this.timers.delete(timer);
    timer.callback();
    await settle();
  }
}

/** A WebSocket whose other side is the test. */
export class FakeWebSocket implements WebSocketLike {
  readyState = 0;
  binaryType = "blob";
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: { data: never }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  readonly frames: Frame[] = [];
  readonly texts: (string | ArrayBuffer)[] = [];
  private taken = 0;

  constructor(
    readonly url: string,
    readonly protocols: readonly string[] | undefined,
  ) {}

  send(data: string | ArrayBuffer): void {
    if (this.readyState === 0) throw new DOMException("Still connecting.", "InvalidStateError");
    if (this.readyState !== 1) return;
    this.texts.push(data);
    if (typeof data === "string" && data.startsWith("{")) this.frames.push(JSON.parse(data) as Frame);
  }

  close(): void {
    if (this.readyState < 2) this.readyState = 2;
  }

  /** The frames that were sent since the last call. */
  take(): Frame[] {
    return this.frames.slice(this.taken, (this.taken = this.frames.length));
  }

  async accept(): Promise<this> {
    this.readyState = 1;
    this.onopen?.({} as never);
    await settle();
    return this;
  }

  async receive(...frames: (Frame | string)[]): Promise<void> {
    for (const frame of frames) {
      this.onmessage?.({ data: (typeof frame === "string" ? frame : JSON.stringify(frame)) as never });
    }
    await settle();
  }

  /** Answers the oldest request of `route` that was sent last. */
  async reply(id: unknown, payload: unknown = null, status = 200, headers?: Frame): Promise<void> {
    const sent = this.frames.find((frame) => frame["uuid"] === id);
    await this.receive({ uuid: id, route: sent?.["route"], status, ...(headers && { headers }), payload });
  }

  async drop(code = 1006, reason = ""): Promise<void> {
    this.readyState = 3;
    this.onerror?.({} as never);
    this.onclose?.({ code, reason });
    await settle();
  }
}

/** A socket of which clock, chance and network belong to the test. */
export class World<T extends Api = AnyApi> {
  readonly clock = new FakeClock();
  readonly sockets: FakeWebSocket[] = [];
  readonly states: string[] = [];
  readonly errors: Error[] = [];
  /** What `random()` returns: in the middle, so that a delay is that of the back-off itself. */
  random = 0.5;
  readonly socket: Routesock<T>;

  constructor(options: SocketOptions = {}, url = "ws://test/ws/") {
    const { sockets } = this;
    this.socket = new Routesock<T>(url, {
      clock: this.clock,
      random: () => this.random,
      onError: (error) => this.errors.push(error),
      WebSocket: class extends FakeWebSocket {
        constructor(address: string, protocols?: readonly string[]) {
          super(address, protocols);
          sockets.push(this);
        }
      },
      ...options,
    });
    this.socket.onState((state) => this.states.push(state));
  }

  /** The newest WebSocket. */
  get ws(): FakeWebSocket {
    const newest = this.sockets.at(-1);
    if (!newest) throw new Error("There is no WebSocket yet.");
    return newest;
  }

  /** Connects, and accepts. */
  async open(): Promise<FakeWebSocket> {
    this.socket.connect();
    await settle();
    return this.ws.accept();
  }

  /** The first connection attempts fail until there were `failures`. */
  async fail(failures: number): Promise<void> {
    for (let failure = 0; failure < failures; failure++) {
      await this.ws.drop();
      await this.clock.advance(45_000);
    }
  }
}

/** What `promise` rejects with. */
export async function rejected<E = Error & Record<string, unknown>>(promise: Promise<unknown>): Promise<E> {
  const resolved = Symbol("resolved");
  const reason = await promise.then(
    () => resolved,
    (error: unknown) => error,
  );
  if (reason === resolved) throw new Error("It was not rejected.");
  return reason as E;
}

/** Collects what an iterator gives until it ends; the error that ended it, if any, comes last. */
export async function collect<Item>(items: AsyncIterable<Item>): Promise<unknown[]> {
  const found: unknown[] = [];
  try {
    for await (const item of items) found.push(item);
  } catch (error) {
    found.push(error);
  }
  return found;
}
