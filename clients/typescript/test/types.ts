// What the compiler has to accept and to refuse. It is compiled against the built declarations, and never run.

import {
  ConnectionLost,
  RouteError,
  Routesock,
  type ErrorOf,
  type Items,
  type Problem,
  type Push,
  type Reply,
} from "routesock";
import { usePush, useRoute, useSocketState, useTopic } from "routesock/react";

interface Message {
  id: number;
  text: string;
}

/** As `manage.py routesock_client typescript` writes it. */
interface Chat {
  routes: {
    "message.send": {
      payload: { text: string };
      reply: Message;
      errors: { 410: { moved_to: string }; 422: Problem };
    };
    "message.list": { payload?: { before?: number }; reply: Message[] };
    version: { reply: string };
  };
  streams: { history: { payload: { room: number }; item: Message } };
  pushes: { message: Message; typing: { user: string } };
  asks: { confirm: { payload: { text: string }; answer: { delete: boolean } }; ready: { payload: null; answer: boolean } };
  topics: {
    "room.{room}": {
      name: `room.${string}`;
      except: "room.vip" | `room.${string}.${string}`;
      snapshot: { title: string };
      push: "message";
    };
    "room.vip": { snapshot: { vip: true } };
    news: { snapshot: string[]; push: "message" | "typing" };
  };
}

const chat = { path: "/ws/chat/", keys: { route: "action", id: "request_id", payload: null } } as const;

export async function accepted(): Promise<void> {
  const socket = new Routesock<Chat>(chat.path, { ...chat, token: async (refused) => (refused ? "new" : "old") });
  const message: Message = await socket.connect().call("message.send", { text: "Hello" }, { timeout: 5_000 });
  const list: Message[] = await socket.call("message.list");
  await socket.call("message.list", { before: message.id });
  const version: string = await socket.call("version");
  const reply: Reply<Message> = await socket.request("message.send", { text: version });
  const sent: boolean = socket.notify("version");
  const history: Items<Message> = socket.stream("history", { room: list.length });
  for await (const { text } of history) text.trim();
  const off: () => void = socket.on("typing", ({ user }) => user.trim());
  socket.on("*", (payload: unknown, push: Push) => [payload, push.route]);
  for await (const { id } of socket.pushes("message")) id.toFixed();
  const room = socket.subscribe("room.5", { snapshot: ({ title }) => title.trim(), ended: ({ code }) => code.trim() });
  socket.subscribe(`room.${message.id}`, { snapshot: ({ title }) => title, push: ({ payload }) => payload.text });
  socket.subscribe("room.vip", { snapshot: ({ vip }) => vip satisfies true });
  socket.subscribe("news", {
    snapshot: (news) => news.join(),
    push: (push) => (push.route === "typing" ? push.payload.user : push.payload.text),
  });
  const silent: () => void = socket.answer("confirm", ({ text }, { route }) => ({ delete: route === text }));
  socket.answer("ready", async () => true);
  socket.answer("ready", () => {
    throw new RouteError("ready", 409, { code: "no", title: "No", detail: "" }, {});
  });
  silent();
  room.unsubscribe();
  off();
  if (sent) await socket[Symbol.asyncDispose]();
  const untyped = new Routesock("/ws/", { WebSocket });
  const anything: unknown = await untyped.call("anything", [reply.status]);
  untyped.subscribe("anything", { snapshot: (snapshot: unknown) => snapshot ?? anything });
  for await (const item of untyped.stream("anything")) item ?? anything;
  untyped.answer("anything", ({ text }: { text: string }) => text);
}

export const logged = new Routesock("/ws/", {
  WebSocket: class extends WebSocket {
    override send(data: string | ArrayBuffer): void {
      super.send(data);
    }
  },
});

export function errors(error: unknown): number | boolean | undefined {
  if (error instanceof RouteError) return error.problem.errors?.["text"]?.length ?? error.retryAfter;
  return error instanceof ConnectionLost && error.sent;
}

export function errorsOfRoute(error: unknown): string | undefined {
  const failed = error as ErrorOf<Chat["routes"]["message.send"]>;
  // @ts-expect-error only a 410 has it
  failed.problem.moved_to.trim();
  return failed.status === 410 ? failed.problem.moved_to : failed.problem.detail;
}

export async function refused(socket: Routesock<Chat>): Promise<void> {
  // @ts-expect-error there is no such route
  await socket.call("message.sent", { text: "" });
  // @ts-expect-error the payload is required
  await socket.call("message.send");
  // @ts-expect-error a member is missing
  await socket.call("message.send", {});
  // @ts-expect-error a member has another type
  await socket.call("message.send", { text: 5 });
  // @ts-expect-error a route without a payload
  await socket.call("version", 5);
  // @ts-expect-error the reply is a list
  const message: Message = await socket.call("message.list");
  // @ts-expect-error milliseconds, and no text
  await socket.call("version", undefined, { timeout: "5s" });
  // @ts-expect-error a stream is not called
  await socket.call("history", { room: 5 });
  // @ts-expect-error a route does not stream
  socket.stream("message.list");
  // @ts-expect-error there is no such push
  socket.on("messages", () => {});
  // @ts-expect-error the payload is an object
  socket.on("typing", (user: string) => user);
  // @ts-expect-error it asks no such thing
  socket.answer("confirmed", () => ({ delete: true }));
  // @ts-expect-error the payload is an object
  socket.answer("confirm", (text: string) => ({ delete: !text }));
  // @ts-expect-error a member of the answer is missing
  socket.answer("confirm", () => ({}));
  // @ts-expect-error the answer is a boolean, also where it comes later
  socket.answer("ready", async () => "yes");
  // @ts-expect-error a push is no ask
  socket.answer("message", () => true);
  // @ts-expect-error an ask is no push
  socket.on("confirm", () => {});
  // @ts-expect-error there is no such topic
  socket.subscribe("rooms.5");
  // @ts-expect-error a parameter has no dot
  socket.subscribe("room.5.members");
  // @ts-expect-error other pushes come through this topic
  socket.subscribe("room.5", { push: (push) => push.route === "typing" });
  // @ts-expect-error the snapshot is another one
  socket.subscribe("room.vip", { snapshot: ({ title }) => title });
  // @ts-expect-error the snapshot is a list
  socket.subscribe("news", { snapshot: ({ title }) => title });
  // @ts-expect-error a stream cannot be sent twice
  socket.stream("history", { room: 5 }, { idempotent: true });
  // @ts-expect-error no options but the signal
  socket.pushes("message", { timeout: 5 });
  // @ts-expect-error a token is text
  new Routesock("/ws/", { token: () => 5 });
  // @ts-expect-error there is no such key
  new Routesock("/ws/", { keys: { uuid: "id" } });
  void message;
}

export function Component({ socket }: { socket: Routesock<Chat> }): string {
  const state = useSocketState(socket);
  usePush(socket, "message", ({ text }) => text.trim());
  const room = useTopic(socket, "room.5", (data, push) => (push.payload.id ? { title: push.payload.text } : data));
  const { call, pending, data, error } = useRoute(socket, "message.send");
  void call({ text: state }).then((message) => message?.id.toFixed());
  // @ts-expect-error the payload is required
  void call();
  // @ts-expect-error there is no such push
  usePush(socket, "messages", () => {});
  useTopic(socket, null);
  // @ts-expect-error there is no such topic
  useTopic(socket, "rooms.5");
  // @ts-expect-error the state of a room is an object
  useTopic(socket, "room.5", () => "New");
  return [room.data?.title, pending, data?.text, error?.message].join();
}
