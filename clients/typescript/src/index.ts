export { ConnectionLost, RouteError, StreamOverflow } from "./errors.js";
export { type Off, Routesock } from "./socket.js";
export type * from "./types.js";
