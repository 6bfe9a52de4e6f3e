// Written by "manage.py routesock_client typescript". Do not edit it: change the consumers and run the command again.
/* eslint-disable */

/**
 * Rooms in which users talk.
 *
 * ChatConsumer at /ws/chat/.
 */
export interface Chat {
  routes: {
    /** Change the text of a message of one's own. */
    "message.edit": {
      payload: Edit;
      reply: Message;
      errors: { 401: Problem; 403: Problem; 404: Problem; 422: Problem };
    };
    /** List the last 50 messages of the room, the oldest first. */
    "message.list": {
      payload?: { [member: string]: unknown };
      reply: MessageList;
      errors: { 401: Problem; 403: Problem; 409: Problem };
    };
    /** Send a message to everyone in the room. */
    "message.send": {
      payload: Send;
      reply: Message;
      errors: { 401: Problem; 403: Problem; 409: Problem; 422: Problem; 429: Problem };
    };
    /** Enter a room, and leave the one before. */
    "room.join": { payload: JoinInput; reply: JoinOutput; errors: { 401: Problem; 403: Problem; 422: Problem } };
  };
  streams: {};
  pushes: {
    /** Everybody in the room should read this. */
    announcement: Announcement;
    /** A message of the room, new or edited. */
    message: Message;
    /** Somebody else in the room is typing. */
    typing: Typing;
  };
  asks: {};
  topics: {
    /** Follow a room. A page that comes back gets what it has missed, or else the last 50 messages again. */
    "room:{room}": {
      name: `room:${string}`;
      except: `room:${string}.${string}`;
      snapshot: MessageList;
      errors: { 401: Problem; 403: Problem; 422: Problem };
    };
  };
}

/** Where ChatConsumer is, and the keys of its frames. */
export const chat = {
  path: "/ws/chat/",
  keys: { route: "action", id: "request_id", payload: null, headers: "headers" },
} as const;

/**
 * A story, and polls.
 *
 * TourConsumer at /ws/tour/.
 */
export interface Tour {
  routes: {
    /** Vote once. */
    "poll.vote": {
      payload: Vote;
      reply: Counts;
      errors: { 401: Problem; 403: Problem; 409: Voted; 422: Problem; 429: Problem };
    };
  };
  streams: {
    /** Tell a story, word by word. A CANCEL ends it. */
    "story.tell": { payload?: unknown; item: Word; errors: { 401: Problem; 403: Problem } };
  };
  pushes: {
    /** Somebody has voted. */
    "poll.counts": Counts;
  };
  asks: {};
  topics: {
    /** Follow a poll. */
    "poll.{poll}": {
      name: `poll.${string}`;
      except: `poll.${string}.${string}`;
      snapshot: Counts;
      push: "poll.counts";
      errors: { 401: Problem; 403: Problem; 422: Problem };
    };
  };
}

/** Where TourConsumer is, and the keys of its frames. */
export const tour = {
  path: "/ws/tour/",
  keys: {},
} as const;

export type Announcement = {
  author?: string;
  text: string;
};

export type Counts = {
  no: number;
  yes: number;
};

export type Edit = {
  id: number;
  text: string;
};

export type JoinInput = {
  room: string;
};

export type JoinOutput = {
  room: string;
};

export type Message = {
  author: string;
  created_at: string;
  id: number;
  text: string;
};

export type MessageList = {
  messages: Message[];
};

/** An error (RFC 9457). It may have further members. */
export type Problem = {
  /** A short name of the error, for programs. */
  code: string;
  /** A sentence for people. */
  detail: string;
  /** Messages by field. */
  errors?: unknown;
  /** Seconds after which the client may try again. */
  retry_after?: number | string;
  /** The name of the status. */
  title: string;
};

export type Send = {
  text: string;
};

export type Typing = {
  username: string;
};

export type Vote = {
  answer: "yes" | "no";
  poll: string;
};

export type Voted = {
  answer: "yes" | "no";
  detail: string;
};

export type Word = {
  word: string;
};
