import type { Data, Dialect, FrameHeaders, IncomingFrame, Keys, OutgoingFrame } from "./types.js";

const PAYLOAD = "payload";

type Members = Record<string, unknown>;

const isObject = (value: unknown): value is Members =>
  typeof value == "object" && value !== null && !Array.isArray(value);

/** The dialect whose frames are JSON objects with these keys. */
export function keysDialect({
  route = "route",
  id = "uuid",
  payload = PAYLOAD,
  status = "status",
  headers = payload === null ? null : "headers",
  topic = "topic",
}: Keys): Dialect {
  const reserved = [route, id, payload ?? PAYLOAD, status, headers];
  return {
    ids: id !== null,

    encode(frame: OutgoingFrame): Data {
      // The id stands in front: the server finds it there in a frame that it cannot parse.
      const members: Members = { [route]: frame.route };
      if (id !== null && frame.id != null) members[id] = frame.id;
      if (headers !== null && frame.headers) members[headers] = frame.headers;
      let content = frame.payload;
      if (payload === null) {
        // What is encoded differently than it looks, such as a Date, is encoded first.
        content = content === undefined ? {} : JSON.parse(JSON.stringify(content));
        if (isObject(content) && !reserved.some((key) => key !== null && Object.hasOwn(content as Members, key))) {
          return JSON.stringify({ ...members, ...content });
        }
      }
      if (content !== undefined) members[payload ?? PAYLOAD] = content;
      return JSON.stringify(members);
    },

    decode(data: Data): IncomingFrame | undefined {
      const frame: unknown = JSON.parse(data as string);
      if (!isObject(frame)) return undefined;
      let content = payload === null ? frame : frame[payload];
      if (payload === null) {
        const own = Object.entries(frame).filter(([key]) => key === PAYLOAD || !reserved.includes(key));
        content = own.length == 1 && own[0]![0] === PAYLOAD ? own[0]![1] : Object.fromEntries(own);
      }
      const own = (headers !== null && (frame[headers] as FrameHeaders | undefined)) || {};
      return {
        route: frame[route] as string | null,
        id: id === null ? undefined : (frame[id] as number | string | null | undefined),
        status: (status === null ? undefined : frame[status]) as number | undefined,
        payload: content,
        headers: own,
        topic: (headers === null ? frame[topic] : own["Topic"]) as string | undefined,
      };
    },
  };
}
