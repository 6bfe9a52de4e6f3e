import type { Host } from "./host.js";

/** Silence after which a PING is sent, and after which the connection counts as dead. All in milliseconds. */
const IDLE = 25_000;
const DEAD = 10_000;
/** The same when the page becomes visible, comes online, or wakes up. */
const WOKEN_IDLE = 5_000;
const WOKEN_DEAD = 3_000;
/** A timer that is later than this was held up: the tab was throttled, or the machine slept. */
const LATE = 5_000;
/** PINGs in a row that may stay without an answer because timers were held up. */
const MAX_LATE = 3;

/** Finds out whether the other side is still there. */
export interface Life {
  /** The connection is open. */
  _start(): void;
  _stop(): void;
  /** A frame has come. */
  _frame(): void;
  /** The page was hidden, offline or frozen, and is no longer. */
  _wake(): void;
}

export function createLife(host: Host): Life {
  const { now, clearTimeout } = host._clock;
  /** When the last frame came. */
  let heard = 0;
  let timer: unknown;
  let due = 0;
  /** PINGs since the last frame. */
  let pings = 0;
  /** Whether the page was woken: then the next connection is tried at once. */
  let woken = false;

  function arm(delay: number): void {
    stop();
    due = now() + delay;
    timer = host._later(fired, delay);
  }

  function fired(): void {
    const late = now() - due > LATE;
    const silence = now() - heard;
    if (pings && !(late && pings < MAX_LATE)) {
      host._lost({ code: 1006, reason: "The server does not answer." }, woken ? 0 : undefined);
    } else if (pings || silence >= IDLE) ping(DEAD);
    else {
      woken = false;
      arm(Math.min(IDLE, IDLE - silence)); // the clock may have been set back
    }
  }

  function ping(within: number): void {
    ++pings;
    host._write({ route: "PING" });
    arm(within);
  }

  function frame(): void {
    heard = now();
    pings = 0;
  }

  function stop(): void {
    clearTimeout(timer);
  }

  return {
    _start() {
      woken = false;
      frame();
      arm(IDLE);
    },
    _stop: stop,
    _frame: frame,
    _wake() {
      if (now() - heard <= WOKEN_IDLE) return;
      woken = true;
      ping(WOKEN_DEAD);
    },
  };
}
