import type { Clock, Data, Dialect, OutgoingFrame, Why } from "./types.js";

/** What the parts of a socket use of it. */
export interface Host {
  readonly _dialect: Dialect;
  readonly _clock: Clock;
  /** Whether calls can be sent: authenticated, and no close has begun. */
  readonly _ready: boolean;
  /** Why there will be no connection until `connect()` is called, or `undefined`. */
  readonly _over: Why | undefined;
  /** The milliseconds before try `n`, counted from 0. */
  _backoff(n: number): number;
  /** Calls `callback` in `delay` milliseconds. */
  _later(callback: () => void, delay: number): unknown;
  /** Writes to the WebSocket, whatever the state. */
  _transmit(data: Data): void;
  /** Encodes and writes. */
  _write(frame: OutgoingFrame): boolean;
  _lost(why: Why, delay?: number): void;
}

/** The longest delay of a timer; a longer one would fire at once. */
export const LONGEST = 2 ** 31 - 1;
