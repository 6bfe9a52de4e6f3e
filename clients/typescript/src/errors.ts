import type { FrameHeaders, Problem, Why } from "./types.js";
import { retryAfter } from "./util.js";

/** The server answered with a status from 400 on. */
export class RouteError extends Error {
  override readonly name = "RouteError";
  /** In how many seconds the server asks to try again, if it does. */
  readonly retryAfter: number | undefined;

  constructor(
    readonly route: string | null,
    readonly status: number,
    /** The payload of the reply. */
    readonly problem: Problem,
    readonly headers: FrameHeaders,
  ) {
    super(`${route}: ${status} ${problem.detail ?? problem.title ?? ""}`);
    this.retryAfter = retryAfter(problem) ?? (headers["Retry-After"] as number | undefined);
  }
}

/** There is no connection for a call, or not any longer. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";

  constructor(
    /** Whether the call was sent: if so, it may have run. */
    readonly sent: boolean,
    /** Why the last connection has ended; also the error's `cause`. */
    readonly why?: Why,
  ) {
    super(sent ? "The connection was lost before the reply." : "Not sent: there is no connection.", { cause: why });
  }
}

/** More than 1,000 items wait to be read. The stream was cancelled. */
export class StreamOverflow extends Error {
  override readonly name = "StreamOverflow";

  constructor() {
    super("More than 1000 items were not read.");
  }
}
