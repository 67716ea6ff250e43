// The operator's prompt: a token is needed and can be taken back, scripts and terminals both work, and all of it is logged.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, type Server, test } from '../support/fixtures.ts';

const bin = process.env.COATI_BIN ?? resolve(dirname(fileURLToPath(import.meta.url)), '../../target/debug');
const program = join(bin, 'safety');

/** `safety` beside the server, with its database and address. */
function safety(server: Server, args: string[], { input = '', env = {} as Record<string, string> } = {}) {
  const environment = { ...process.env, DATABASE_URL: `sqlite:${server.database}`, SAFETY_URL: `ws://127.0.0.1:${server.port}/ws`, HOME: server.folder, ...env };
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: server.folder, encoding: 'utf8', input, env: environment, timeout: 30_000 });
  return { status, stdout, stderr, lines: stdout.trim().split('\n') };
}

const script = (server: Server, token: string, ...lines: string[]) =>
  safety(server, ['repl'], { input: lines.map((line) => `${line}\n`).join(''), env: { SAFETY_TOKEN: token } });

test('an operator walks over the nodes of a page that is open, and follows a value', async ({ server, person }) => {
  const { login } = server.account('admin');
  const token = safety(server, ['token', 'add', login]).stdout.trim();
  expect(token).toMatch(/^[\w-]{43}$/);
  await person('assessor');

  const roots = script(server, token, 'realms', 'sessions', 'nodes');
  expect(roots.status, roots.stdout + roots.stderr).toBe(0);
  expect(roots.stdout).not.toContain('> ');
  expect(roots.lines).toContain('safety');
  expect(roots.stdout).toMatch(/ assessor {2}assessor {2}cookie/);
  const [, base] = /^(session\.[0-9a-f]+)\.server {2}ServerMemberNode$/m.exec(roots.stdout)!;
  expect(roots.stdout).toContain(`${base}.client  ClientMemberNode`);

  const inside = script(server, token, `nodes ${base}`, `state ${base}.server`, `follow ${base}.server user`, `state ${base}.server.assessments_1.rows`);
  expect(inside.status, inside.stdout + inside.stderr).toBe(0);
  expect(inside.stdout).toContain('\n  assessments_1  AssessmentsController\n    rows  CursorNode\n');
  expect(inside.stdout).toContain('\n  user = "assessor"\n  role = "assessor"\n  titles = {"assessments_1":"Assessments"}\n');
  expect(inside.stdout).toContain(`${base}.server user = "assessor"`);
  expect(inside.stdout).toMatch(/shown = \[\[\{.*"start":0/);

  for (const what of [`action="call" uri="${base}.server.node_inspect"`, `uri="${base}.server.node_follow"`, 'uri="wamp.session.list"']) {
    const line = () => server.text.replace(/\u001b\[[0-9;]*m/g, '').split('\n').find((line) => line.includes(what)) ?? '';
    await expect.poll(line, what).toMatch(/^\d{4}-\d\d-\d\dT.* audit: .*user="admin"/);
  }
});

test('a token belongs to its role, and ends when it is removed', async ({ server }) => {
  const reader = safety(server, ['token', 'add', server.account('reader').login, '--label', 'thermometer', '--days', '7']).stdout.trim();
  const refused = script(server, reader, 'sessions', 'state session.x.server', 'call anything.at.all');
  expect(refused.status).toBe(1);
  expect(refused.stdout.match(/wamp\.error\.not_authorized/g)).toHaveLength(3);
  expect(refused.stderr.trim()).toBe('safety: 3 of the commands failed');

  const list = safety(server, ['token', 'list']);
  expect(list.lines).toHaveLength(1);
  expect(list.stdout).toMatch(/^[0-9a-f]{8} {2}reader {2}\d{4}-\d\d-\d\d \d\d:\d\d {2}thermometer\n$/);
  expect(server.select('select token_hash from coati_login').map((row) => row.token_hash)).not.toContain(reader);
  const id = list.stdout.slice(0, 8);
  expect(safety(server, ['token', 'remove', '%']).status).toBe(1);
  expect(safety(server, ['token', 'remove', id]).status).toBe(0);
  expect(safety(server, ['token', 'remove', id]).stderr).toContain('There is no token');
  expect(safety(server, ['token', 'list']).stdout).toBe('');
  const ended = script(server, reader, 'sessions');
  expect(ended.status).toBe(1);
  expect(ended.stderr.trim().split('\n')).toHaveLength(1);
  expect(ended.stderr).toContain('401');

  expect(safety(server, ['token', 'add', 'nobody']).stderr).toContain('There is no account');
  const without = safety(server, ['repl'], { input: 'sessions\n' });
  expect(without.status).toBe(1);
  expect(without.stderr).toContain('SAFETY_TOKEN');
  expect(safety(server, ['repl', '--token', 'x'], { input: '' }).stderr).toContain('unexpected argument');
});

test('on a terminal there is a prompt, completion, a history, and what is watched does not disturb typing', async ({ server }) => {
  const token = safety(server, ['token', 'add', server.account('admin').login]).stdout.trim();
  writeFileSync(join(server.folder, 'token'), `${token}\n`);
  const history = join(server.folder, 'history');
  const command = `${program} repl --url ws://127.0.0.1:${server.port}/ws --token-file token --history ${history}`;
  const child: ChildProcess = spawn('script', ['-qec', command, '/dev/null'], { cwd: server.folder, env: { ...process.env, TERM: 'xterm' }, stdio: ['pipe', 'pipe', 'pipe'] });
  let screen = '';
  child.stdout!.on('data', (data) => { screen += String(data).replace(/\u001b\[[0-9;?]*[a-zA-Z]/g, ''); });
  const shows = (text: string) => expect.poll(() => screen, { timeout: 10_000 }).toContain(text);
  const types = (text: string) => { screen = ''; child.stdin!.write(text); };
  await shows('Joined as admin');
  await shows('> ');
  types('watch shop.door\r');
  await shows('watching shop.door');
  types('rea\t');
  await shows('realms');
  expect(script(server, token, 'publish shop.door open', 'wait 0').status).toBe(0);
  await shows('shop.door: "open"');
  types('\r');
  await shows('safety');
  types('nonsense\r');
  await shows('There is no command nonsense');
  const ended = new Promise((done) => child.once('exit', done));
  types('quit\r');
  await ended;
  expect(child.exitCode).toBe(0);
  expect(readFileSync(history, 'utf8')).toContain('watch shop.door\nrealms\nnonsense\nquit');
});
