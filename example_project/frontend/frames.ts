// The drawer with the last frames. Nothing else depends on it: leave it and the option `WebSocket` out if you copy a page.

import { element, find } from "./page.js";

const MAX_FRAMES = 50;
const MAX_LENGTH = 400;
/** The values of members with such names are not shown. */
const SECRET = /token|password|secret/i;

/** A WebSocket whose frames are shown in the drawer: pass it as the option `WebSocket`. */
export class WatchedWebSocket extends WebSocket {
  constructor(url: string, protocols?: string[]) {
    super(url, protocols);
    this.addEventListener("message", ({ data }) => show("received", data));
  }

  override send(data: string | ArrayBuffer): void {
    show("sent", data);
    super.send(data);
  }
}

function show(direction: "sent" | "received", data: unknown): void {
  const list = find("frames");
  const item = element("li", "", { className: direction });
  item.append(
    element("span", direction === "sent" ? "↑ " : "↓ ", { title: direction }),
    element("time", new Date().toLocaleTimeString()),
    element("code", readable(data)),
  );
  list.prepend(item);
  while (list.childElementCount > MAX_FRAMES) list.lastElementChild?.remove();
}

function readable(data: unknown): string {
  try {
    const frame: unknown = JSON.parse(String(data));
    const text = JSON.stringify(frame, (name, value: unknown) => (SECRET.test(name) ? "•••" : value));
    return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text;
  } catch {
    return "A frame that is not JSON.";
  }
}
