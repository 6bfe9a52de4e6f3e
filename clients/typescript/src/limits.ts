// What the client goes by. Constants of a module without imports are inlined where they are used.

/** Connecting and authenticating take at most so long. All in milliseconds. */
export const CONNECT = 10_000;
/** The back-off begins anew when a connection has been open so long. */
export const STABLE = 5_000;
/** The close follows its notice; if it has not after so long, the notice is taken for it. */
export const CLOSING = 3_000;
export const FIRST_BACKOFF = 500;
export const MAX_BACKOFF = 30_000;
/** A hidden page tries at most so often. */
export const HIDDEN = 30_000;
/** The longest delay of a timer; a longer one would fire at once. */
export const LONGEST = 2 ** 31 - 1;

/** The close code of a socket whose client is not, or no longer, signed in. */
export const UNAUTHENTICATED = 4401;

/** `WebSocket.OPEN`, also where the constructor is injected. */
export const OPEN = 1;

/** Requests in flight at a time. The server lets 64 wait, and answers more with 429. */
export const WINDOW = 32;
/** What waits for a connection: at most so many frames, of so many bytes together. */
export const MAX_QUEUED = 256;
export const MAX_QUEUED_BYTES = 256 * 1024;
/** Longer than the server's own deadline, 30 s by default. In milliseconds. */
export const TIMEOUT = 35_000;
/** How often a call is sent again after a 429 `too_many_in_flight`. */
export const RETRIES = 3;

/** A token is refreshed this long before it ends, or in the last quarter of its time. In seconds. */
export const EARLY = 60;

/** How many items may wait to be read. */
export const MAX_BUFFERED = 1000;

/** The key of the listeners to states, and what stands before the name of an ask. No name of a push begins with it. */
export const APART = "\0";
