import type { Clock, Data, Dialect, OutgoingFrame, Why } from "./types.js";

/** What the parts of a connection use of it. */
export interface Host {
  readonly _dialect: Dialect;
  readonly _clock: Clock;
  /** Whether calls can be sent: authenticated, and no close has begun. */
  _ready(): boolean;
  /** Whether there will be no connection until `connect()` is called. */
  _over(): boolean;
  /** Why the last connection has ended; `undefined` before that. */
  _why(): Why | undefined;
  /** The milliseconds before retry `n`, counted from 0: longer each time, and spread. */
  _backoff(n: number): number;
  /** Calls `callback` in `delay` milliseconds. */
  _later(callback: () => void, delay: number): unknown;
  /** Writes to the WebSocket, whatever the state. */
  _transmit(data: Data): void;
  /** Encodes and writes a frame if the WebSocket is open, and returns whether it is. */
  _write(frame: OutgoingFrame): boolean;
  /** The connection is lost. `delay`: the milliseconds before the next try, instead of the back-off. */
  _lost(why: Why, delay?: number): void;
}
