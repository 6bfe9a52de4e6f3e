import type { Data, Dialect, FrameHeaders, IncomingFrame, Keys, OutgoingFrame } from "./types.js";

/** The key of a payload that should be spread over its frame but cannot be. */
const PAYLOAD = "payload";

/** The key of a part that frames do not have. */
const NONE = Symbol();

type Members = Record<PropertyKey, unknown>;

/** The dialect whose frames are JSON objects with these keys. */
export function keysDialect({
  route = "route",
  id = "uuid",
  payload = PAYLOAD,
  status = "status",
  headers = payload === null ? null : "headers",
  topic = "topic",
}: Keys): Dialect {
  return {
    ids: id !== null,

    encode(frame: OutgoingFrame): Data {
      // The id stands in front: the server finds it there in a frame that it cannot parse. Neither symbols nor
      // undefined are encoded.
      const members: Members = {
        [route]: frame.route,
        [id ?? NONE]: frame.id ?? undefined,
        [status ?? NONE]: frame.status,
        [headers ?? NONE]: frame.headers,
      };
      let content = frame.payload;
      if (payload === null && content !== undefined) {
        content = JSON.parse(JSON.stringify(content)); // what a Date becomes, for instance, is no object
        if (Object(content) === content && !Array.isArray(content)) {
          // A server reads the status of an answer only, and else a payload with such members.
          const reserved: unknown[] = [route, id, headers, ...(frame.status == null ? [] : [status, PAYLOAD])];
          if (!Object.keys(content as Members).some((key) => reserved.includes(key))) {
            return JSON.stringify({ ...members, ...(content as Members) });
          }
        }
      }
      return JSON.stringify({ ...members, [payload ?? PAYLOAD]: content });
    },

    decode(data: Data): IncomingFrame {
      const frame = JSON.parse(data as string) as Members;
      const { [route]: name, [id ?? NONE]: own, [status ?? NONE]: code, [headers ?? NONE]: head, ...rest } = frame;
      // Without a key for payloads, they are all other members, or what is under "payload" alone.
      const key = payload ?? (Object.keys(rest).join() == PAYLOAD ? PAYLOAD : null);
      return {
        route: name as string,
        id: own as string,
        status: code as number,
        payload: key === null ? rest : frame[key],
        headers: (head ?? {}) as FrameHeaders,
        topic: (headers === null ? frame[topic] : (head as Members | undefined)?.["Topic"]) as string,
      };
    },
  };
}
