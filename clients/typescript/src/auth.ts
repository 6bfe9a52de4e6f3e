import type { Calls } from "./calls.js";
import { members } from "./errors.js";
import type { Host } from "./host.js";
import type { Reply, SocketOptions } from "./types.js";

/** A token is refreshed this long before it ends, or in the last quarter of its time. In seconds. */
const EARLY = 60;

/** Characters that a subprotocol can have (RFC 9110, token). */
const PLAIN = /^[\w!#$%&'*+.^`|~-]+$/;

/** Gets tokens, sends them in AUTH frames, and does so again before they end. */
export class Auth {
  /** Whether the server has refused the last token. */
  _refused = false;
  private _timer: unknown;

  constructor(
    private readonly _host: Host,
    private readonly _calls: Calls,
    private readonly _token: SocketOptions["token"],
  ) {}

  /** The token, or `null`. */
  async _get(): Promise<string | null> {
    return (await this._token?.(this._refused)) ?? null;
  }

  /** Sends `token`. Rejects with the server's error. */
  async _send(token: string): Promise<void> {
    const { payload }: Reply = await this._calls._start("AUTH", { token }, { timeout: null }, "now");
    const { expires, ttl = typeof expires == "number" ? expires - this._host._clock.now() / 1000 : null } =
      members(payload);
    if (typeof ttl != "number") return;
    this._stop();
    this._timer = this._host._later(() => this._refresh(), 1000 * (ttl - Math.min(EARLY, ttl / 4)));
  }

  _stop(): void {
    this._host._clock.clearTimeout(this._timer);
  }

  /** Where it fails, the token that the server has is good until the server says otherwise. */
  private _refresh(): void {
    this._get()
      .then((token) => (token !== null && this._host._ready ? this._send(token) : undefined))
      .catch(() => {});
  }
}

/** The subprotocol that carries `token`. */
export function bearer(token: string): string {
  if (PLAIN.test(token)) return `bearer.${token}`;
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  return `base64url.bearer.${btoa(bytes).replace(/=+$/, "").replaceAll("+", "-").replaceAll("/", "_")}`;
}
