import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { StrictMode, useState, type ReactNode } from "react";
import { act, create, type ReactTestRenderer } from "react-test-renderer";
import type { Push } from "../src/index.js";
import { usePush, useRoute, useSocketState, useTopic, type RouteState, type TopicState } from "../src/react.js";
import { settle, World } from "./harness.js";

(globalThis as Record<string, unknown>)["IS_REACT_ACT_ENVIRONMENT"] = true;

type Renamed = { title: string };
type Chat = {
  routes: { send: { payload: string; reply: number } };
  streams: object;
  pushes: { said: string };
  topics: { "room.5": { snapshot: Renamed }; "room.6": { snapshot: Renamed } };
};

const reduce = (room: Renamed, { payload }: Push): Renamed => ({ title: `${room.title}+${String(payload)}` });

const original = console.error;
const complaints: string[] = [];

describe("React", () => {
  let world: World<Chat>;
  let root: ReactTestRenderer;

  beforeEach(() => {
    mock.timers.enable({ apis: ["setTimeout"] });
    // The renderer says at each start that it is deprecated. Everything else that React says is an error.
    console.error = (...args: unknown[]) => {
      if (!/react-test-renderer is deprecated|ExperimentalWarning/.test(String(args[0]))) complaints.push(args.join(" "));
    };
    world = new World<Chat>();
  });

  afterEach(async () => {
    await render(null);
    mock.timers.tick(1_000);
    mock.timers.reset();
    console.error = original;
    assert.deepEqual(complaints, []);
  });

  async function render(element: ReactNode): Promise<void> {
    await act(async () => {
      if (root) root.update(<StrictMode>{element}</StrictMode>);
      else root = create(<StrictMode>{element}</StrictMode>);
      await settle();
    });
  }

  const during = (step: () => unknown) => act(async () => void (await step()));

  beforeEach(async () => {
    root = undefined as never;
    await render(null);
  });

  function Shown(): string {
    return useSocketState(world.socket);
  }

  test("StrictMode opens one socket, and the state is shown", async () => {
    await render(<Shown />);
    assert.equal(root.toJSON(), "connecting");
    await during(() => world.ws.accept());
    assert.equal(root.toJSON(), "open");
    assert.equal(world.sockets.length, 1);
  });

  test("the socket is closed 1 s after the last component", async () => {
    await render([<Shown key="a" />, <Shown key="b" />]);
    await during(() => world.ws.accept());
    await render([<Shown key="a" />]);
    mock.timers.tick(2_000);
    assert.equal(world.socket.state, "open");
    await render(null);
    mock.timers.tick(999);
    assert.equal(world.socket.state, "open");
    await render(<Shown />);
    mock.timers.tick(5_000);
    assert.equal(world.socket.state, "open");
    await render(null);
    mock.timers.tick(1_000);
    assert.equal(world.socket.state, "closed");
    await render(<Shown />);
    assert.deepEqual([world.socket.state, world.sockets.length], ["connecting", 2]);
  });

  test("a socket that you have connected yourself stays open", async () => {
    await world.open();
    await render(<Shown />);
    await render(null);
    mock.timers.tick(5_000);
    assert.equal(world.socket.state, "open");
    world.socket.close();
  });

  test("a socket made in a component is one socket", async () => {
    function Owner(): string {
      const [own] = useState(() => world.socket);
      return useSocketState(own);
    }
    await render(<Owner />);
    assert.equal(world.sockets.length, 1);
  });

  test("usePush calls the listener of the last render, once", async () => {
    const heard: string[] = [];
    function Listener({ name }: { name: string }): null {
      usePush(world.socket, "said", (payload) => heard.push(`${name}: ${payload}`));
      return null;
    }
    await render(<Listener name="first" />);
    await during(() => world.ws.accept());
    await during(() => world.ws.receive({ route: "said", payload: "a" }));
    await render(<Listener name="second" />);
    await during(() => world.ws.receive({ route: "said", payload: "b" }));
    await render(null);
    await during(() => world.ws.receive({ route: "said", payload: "c" }));
    assert.deepEqual(heard, ["first: a", "second: b"]);
  });

  describe("useTopic", () => {
    let seen: TopicState<Renamed>;

    function Room({ topic }: { topic: "room.5" | "room.6" | null }): null {
      seen = useTopic(world.socket, topic, reduce);
      return null;
    }

    const said = (payload: string, topic = "room.5") => ({ route: "said", payload, headers: { Topic: topic } });

    async function answer(title: string): Promise<void> {
      const { uuid } = world.ws.frames.filter(({ route }) => route === "SUBSCRIBE").at(-1)!;
      await during(() => world.ws.reply(uuid, { title }));
    }

    async function open(): Promise<void> {
      await render(<Room topic="room.5" />);
      await during(() => world.ws.accept());
    }

    test("has the snapshot, and what pushes make of it", async () => {
      await open();
      assert.deepEqual({ ...seen }, { data: undefined, stale: true, problem: undefined });
      await answer("Kitchen");
      assert.deepEqual({ ...seen }, { data: { title: "Kitchen" }, stale: false, problem: undefined });
      await during(() => world.ws.receive(said("a"), said("b")));
      assert.deepEqual(seen.data, { title: "Kitchen+a+b" });
    });

    test("pushes in front of the snapshot are applied behind it", async () => {
      await open();
      await during(() => world.ws.receive(said("early")));
      await answer("Kitchen");
      assert.deepEqual(seen.data, { title: "Kitchen+early" });
    });

    test("is stale from the loss of the connection to the next snapshot", async () => {
      await open();
      await answer("Kitchen");
      await during(() => world.ws.drop());
      assert.deepEqual(seen, { data: { title: "Kitchen" }, stale: true, problem: undefined });
      await during(() => world.clock.advance(500));
      await during(() => world.ws.accept());
      await during(() => world.ws.receive(said("early")));
      await answer("Office");
      assert.deepEqual(seen, { data: { title: "Office+early" }, stale: false, problem: undefined });
    });

    test("keeps its data if the missed pushes follow, and applies them", async () => {
      await open();
      const { uuid } = world.ws.frames.filter(({ route }) => route === "SUBSCRIBE").at(-1)!;
      const position = (Position: string) => ({ headers: { Topic: "room.5", Position } });
      await during(() =>
        world.ws.receive({
          uuid, route: "SUBSCRIBE", status: 200, payload: { title: "Kitchen" }, headers: { Position: "e:1" },
        }),
      );
      await during(() => world.ws.receive({ ...said("a"), ...position("e:2") }));
      await during(() => world.ws.drop());
      assert.deepEqual(seen, { data: { title: "Kitchen+a" }, stale: true, problem: undefined });
      await during(() => world.clock.advance(500));
      await during(() => world.ws.accept());
      const again = world.ws.frames.filter(({ route }) => route === "SUBSCRIBE").at(-1)!;
      assert.deepEqual(again.payload, { topic: "room.5", since: "e:2" });
      await during(() =>
        world.ws.receive({
          uuid: again.uuid, route: "SUBSCRIBE", status: 204, payload: null,
          headers: { Position: "e:2", Recovered: true },
        }),
      );
      assert.deepEqual(seen, { data: { title: "Kitchen+a" }, stale: false, problem: undefined });
      await during(() => world.ws.receive({ ...said("b"), ...position("e:3") }));
      assert.deepEqual(seen, { data: { title: "Kitchen+a+b" }, stale: false, problem: undefined });
    });

    test("has the problem of one that is refused", async () => {
      await open();
      const { uuid } = world.ws.frames.filter(({ route }) => route === "SUBSCRIBE").at(-1)!;
      await during(() => world.ws.reply(uuid, { code: "permission_denied" }, 403));
      assert.deepEqual(seen, { data: undefined, stale: true, problem: { code: "permission_denied" } });
    });

    test("follows the topic, and null is none", async () => {
      await open();
      await answer("Kitchen");
      await render(<Room topic="room.6" />);
      assert.equal(seen.data, undefined);
      await answer("Office");
      assert.deepEqual(seen.data, { title: "Office" });
      await render(<Room topic={null} />);
      assert.equal(seen.data, undefined);
      const { route, payload } = world.ws.frames.at(-1)!;
      assert.deepEqual([route, payload], ["UNSUBSCRIBE", { topic: "room.6" }]);
    });
  });

  describe("useRoute", () => {
    let seen: RouteState<Chat["routes"]["send"]>;

    function Sender(): null {
      seen = useRoute(world.socket, "send");
      return null;
    }

    const result = () => [seen.pending, seen.data, seen.error?.name];

    beforeEach(async () => {
      await render(<Sender />);
      await during(() => world.ws.accept());
    });

    test("says whether the call is pending, and what came of it", async () => {
      assert.deepEqual(result(), [false, undefined, undefined]);
      let returned: Promise<number | undefined>;
      await during(() => void (returned = seen.call("a")));
      assert.deepEqual(result(), [true, undefined, undefined]);
      await during(() => world.ws.reply(1, 7));
      assert.deepEqual([...result(), await returned!], [false, 7, undefined, 7]);
      await during(() => void (returned = seen.call("b")));
      await during(() => world.ws.reply(2, { code: "conflict" }, 409));
      assert.deepEqual([...result(), await returned!], [false, 7, "RouteError", undefined]);
    });

    test("the last call counts", async () => {
      await during(() => void Promise.all([seen.call("a"), seen.call("b")]));
      await during(() => world.ws.reply(2, 2));
      await during(() => world.ws.reply(1, 1));
      assert.deepEqual(result(), [false, 2, undefined]);
    });

    test("a call is aborted with its component", async () => {
      await during(() => void seen.call("a"));
      await render(null);
      assert.deepEqual(world.ws.frames.at(-1), { route: "CANCEL", uuid: 1 });
    });
  });
});
