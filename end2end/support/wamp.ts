// A raw WAMP session spoken by hand from a page, with that person's cookie: what an attacker can do.
import type { Page } from '@playwright/test';

/** Sends HELLO and then each message; returns all messages that came back until the socket was silent or closed. */
export function speak(page: Page, messages: unknown[][], hello: unknown[] = [1, 'safety', { roles: { caller: {}, callee: {}, publisher: {}, subscriber: {} } }]): Promise<unknown[][]> {
  return page.evaluate(({ messages, hello }) => new Promise<unknown[][]>((done) => {
    const heard: unknown[][] = [];
    const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/ws`, ['wamp.2.json']);
    let timer: ReturnType<typeof setTimeout>;
    const silent = () => { clearTimeout(timer); timer = setTimeout(() => { socket.close(); done(heard); }, 700); };
    socket.onopen = () => { socket.send(JSON.stringify(hello)); silent(); };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      heard.push(message);
      // WELCOME: the session is open.
      if (message[0] === 2) for (const one of messages) socket.send(JSON.stringify(one));
      silent();
    };
    socket.onclose = ({ code, reason }) => { clearTimeout(timer); heard.push(['closed', code, reason]); done(heard); };
    socket.onerror = () => { heard.push(['error']); };
  }), { messages, hello });
}
