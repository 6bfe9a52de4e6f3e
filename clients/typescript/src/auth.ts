import type { Calls } from "./calls.js";
import type { Host } from "./host.js";
import { EARLY } from "./limits.js";
import type { SocketOptions } from "./types.js";
import { members } from "./util.js";

/** Gets tokens, sends them in AUTH frames, and does so again before they end. */
export interface Auth {
  /** Whether the server has refused the last token. */
  _refused: boolean;
  /** Returns a token, or `null`. */
  _get(): Promise<string | null>;
  /** Sends a token. Rejects with the server's error. */
  _send(token: string): Promise<void>;
  /** Ends the refreshing. */
  _stop(): void;
}

export function createAuth(host: Host, calls: Calls, token: SocketOptions["token"]): Auth {
  let timer: unknown;
  const auth: Auth = {
    _refused: false,
    _get: async () => (await token?.(auth._refused)) ?? null,
    async _send(token) {
      const { payload } = await calls._start("AUTH", { token }, { timeout: null }, "now");
      const { expires, ttl = (expires as number) - host._clock.now() / 1000 } = members(payload) as Grant;
      if (!(ttl! > 0)) return; // it does not end
      auth._stop();
      timer = host._later(refresh, 1000 * (ttl! - Math.min(EARLY, ttl! / 4)));
    },
    _stop: () => host._clock.clearTimeout(timer),
  };

  /** Where it fails, the server goes on with the token that it has, and ends the socket with it. */
  async function refresh(): Promise<void> {
    try {
      const token = await auth._get();
      if (token !== null && host._ready()) await auth._send(token);
    } catch {
      // The close that follows asks for a new token.
    }
  }

  return auth;
}

/** The end of a token in seconds since 1970, and in seconds from now; `null` for none. */
interface Grant {
  readonly expires?: number | null;
  readonly ttl?: number | null;
}
