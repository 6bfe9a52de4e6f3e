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
export class Life {
  /** When the last frame came. */
  private _heard = 0;
  private _timer: unknown;
  private _due = 0;
  /** PINGs sent since the last frame. */
  private _pings = 0;
  /** Whether the page was woken: then a new connection is tried at once. */
  private _woken = false;

  constructor(private readonly _host: Host) {}

  _start(): void {
    this._frame();
    this._arm(IDLE);
  }

  _stop(): void {
    this._host._clock.clearTimeout(this._timer);
  }

  /** A frame has come. */
  _frame(): void {
    this._heard = this._host._clock.now();
    this._pings = 0;
  }

  /** The page was hidden, offline or frozen, and is no longer. */
  _wake(): void {
    if (this._host._clock.now() - this._heard <= WOKEN_IDLE) return;
    this._woken = true;
    this._ping(WOKEN_DEAD);
  }

  private _ping(within: number): void {
    ++this._pings;
    this._host._write({ route: "PING" });
    this._arm(within);
  }

  private _arm(delay: number): void {
    const { _clock } = this._host;
    _clock.clearTimeout(this._timer);
    this._due = _clock.now() + delay;
    this._timer = this._host._later(() => this._fired(), delay);
  }

  private _fired(): void {
    const now = this._host._clock.now();
    const late = now - this._due > LATE;
    const silence = now - this._heard;
    if (this._pings && !(late && this._pings < MAX_LATE)) {
      this._host._lost({ code: 1006, reason: "The server does not answer." }, this._woken ? 0 : undefined);
    } else if (this._pings || silence >= IDLE) this._ping(DEAD);
    else {
      this._woken = false;
      this._arm(Math.min(IDLE, IDLE - silence));
    }
  }
}
