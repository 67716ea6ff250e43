// One person's raw socket reaches nothing of another's; bad messages and strangers are refused, and nobody else notices.
import { request } from 'node:http';
import { expect, type Server, test } from '../support/fixtures.ts';
import { speak } from '../support/wamp.ts';

test.use({ options: { rows: 2000 } });

/** The bases of sessions, as they stand in the server's log or in the page. */
async function baseOf(app: { page: import('@playwright/test').Page }): Promise<string> {
  const base = await app.page.evaluate(() => document.querySelector<HTMLElement>('[data-base]')?.dataset.base);
  expect(base, 'the page names its base').toBeTruthy();
  return base!;
}

test('call, register, subscribe and publish below another base, and the meta API, are refused', async ({ person }) => {
  const [anna, ben] = [await person(), await person('admin')];
  const [base, loaded] = [await baseOf(ben), await ben.loadedAt()];
  const attempts: unknown[][] = [
    [48, 1, {}, `${base}.server.ping`, []],
    [48, 2, {}, `${base}.client.create_view`, []],
    [64, 3, {}, `${base}.client.evil`],
    [64, 4, { match: 'prefix' }, `${base}.`],
    [32, 5, {}, `${base}.client.shown`],
    [32, 6, { match: 'prefix' }, `${base}.`],
    [32, 7, { match: 'prefix' }, ''],
    [32, 8, { match: 'prefix' }, 'coati.window.'],
    [16, 9, { acknowledge: true }, `${base}.client.shown`, ['evil']],
    [48, 10, {}, 'wamp.session.list', []],
    [48, 11, {}, 'wamp.session.count', []],
    [32, 12, {}, 'wamp.session.on_join'],
    [64, 13, {}, 'wamp.session.get'],
    [64, 14, {}, 'coati.start_session'],
  ];
  const heard = await speak(anna.page, attempts);
  const answers = heard.filter((message) => typeof message[0] === 'number' && message[0] !== 2);
  for (const attempt of attempts) {
    const answer = answers.find((message) => message[0] === 8 && message[1] === attempt[0] && message[2] === attempt[1]);
    expect(answer, `${JSON.stringify(attempt)} is answered by an ERROR in ${JSON.stringify(heard)}`).toBeTruthy();
  }
  expect(answers.every((message) => message[0] === 8), 'no answer is a success').toBe(true);
  await ben.live();
  expect(await ben.loadedAt()).toBe(loaded);
});

test('a message of a wrong shape gets ABORT protocol_violation, and nothing else breaks', async ({ person }) => {
  const [anna, ben] = [await person(), await person('admin')];
  for (const wrong of [[48, 'not a number', {}, 'a.b'], [48], [9999, 1], [32, 1, [], 'a.b'], [2, 1, {}]]) {
    const heard = await speak(anna.page, [wrong]);
    expect(heard.some((message) => message[0] === 3 && message[2] === 'wamp.error.protocol_violation'), `${JSON.stringify(wrong)}: ${JSON.stringify(heard)}`).toBe(true);
  }
  const early = await speak(anna.page, [], [48, 1, {}, 'a.b']);
  expect(early.some((message) => message[0] === 3)).toBe(true);
  for (const app of [anna, ben]) await app.live();
});

/** The status of a request with headers of one's own. */
function status(server: Server, path: string, headers: Record<string, string>, method = 'GET', body = ''): Promise<number> {
  return new Promise((done, fail) => {
    const sent = request({ host: '127.0.0.1', port: server.port, path, method, headers }, (answer) => { answer.resume(); done(answer.statusCode!); });
    sent.on('upgrade', (answer, socket) => { socket.destroy(); done(answer.statusCode!); });
    sent.on('error', fail);
    sent.end(body);
  });
}

test('a foreign Origin, a foreign Host and a wrong password are refused', async ({ server, page }) => {
  const host = `127.0.0.1:${server.port}`;
  const upgrade = {
    Host: host, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Protocol': 'wamp.2.json',
  };
  expect(await status(server, '/', { Host: 'evil.example' })).toBeGreaterThanOrEqual(400);
  expect(await status(server, '/ws', { ...upgrade, Origin: 'https://evil.example' })).toBe(403);
  expect(await status(server, '/ws', { ...upgrade, Origin: `http://${host}` }), 'without a cookie').toBeGreaterThanOrEqual(400);
  const form = { Host: host, 'Content-Type': 'application/x-www-form-urlencoded' };
  expect(await status(server, '/login', { ...form, Origin: 'https://evil.example' }, 'POST', 'login=a&password=b')).toBe(403);

  await page.goto(`${server.url}/login`);
  await page.locator('input[name=login]').fill(server.account('assessor').login);
  await page.locator('input[name=password]').fill('wrong');
  await page.locator('input[name=password]').press('Enter');
  await expect(page.locator('input[name=password]')).toBeVisible();
  await expect(page.getByRole('alert')).toBeVisible();
  expect((await page.context().cookies()).length).toBe(0);
});
