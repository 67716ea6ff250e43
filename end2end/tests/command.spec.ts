// What an operator mistypes or finds broken ends in one clear line and an exit code, never in a panic.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, freePort, test } from '../support/fixtures.ts';

const bin = process.env.COATI_BIN ?? resolve(dirname(fileURLToPath(import.meta.url)), '../../target/debug');
let folder: string;

test.beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'coati-command-')); });
test.afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Runs `safety` until it ends; as a person without rights if root runs the tests, because root may write anything. */
function safety(args: string[], { input = '', humble = false } = {}) {
  let command = [join(bin, 'safety'), ...args];
  if (humble && process.getuid!() === 0) {
    copyFileSync(join(bin, 'safety'), join(folder, 'safety'));
    chmodSync(folder, 0o755);
    command = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--', join(folder, 'safety'), ...args];
  }
  const { status, stderr, stdout } = spawnSync(command[0], command.slice(1), { cwd: folder, encoding: 'utf8', input, timeout: 20_000 });
  return { status, stderr, stdout, lines: stderr.trim().split('\n').filter((line) => line !== '') };
}

test('a taken port is one line', async () => {
  const port = await freePort();
  const taken = createServer().listen(port, '127.0.0.1');
  await new Promise((done) => taken.once('listening', done));
  const { status, stderr, lines } = safety(['serve', '--addr', `127.0.0.1:${port}`]);
  taken.close();
  expect(status, stderr).not.toBe(0);
  expect(lines.at(-1)).toContain(String(port));
  expect(stderr).not.toContain('panicked');
});

test('a missing folder is one line', () => {
  const { status, stderr, lines } = safety(['migrate', '--database', 'sqlite:nowhere/at/all/safety.db']);
  expect(status, stderr).not.toBe(0);
  expect(lines).toHaveLength(1);
  expect(stderr).toContain('nowhere');
});

test('a read-only database file is one line', () => {
  mkdirSync(join(folder, 'data'));
  expect(safety(['migrate', '--database', 'sqlite:data/safety.db']).status).toBe(0);
  chmodSync(join(folder, 'data/safety.db'), 0o444);
  chmodSync(join(folder, 'data'), 0o555);
  const { status, stderr, lines } = safety(['seed', '--rows', '10', '--database', 'sqlite:data/safety.db'], { humble: true });
  chmodSync(join(folder, 'data'), 0o755);
  expect(status, stderr).not.toBe(0);
  expect(lines).toHaveLength(1);
});

test('a file that is no database is one line, and stays as it was', () => {
  writeFileSync(join(folder, 'notes.txt'), 'These are my notes, not a database. '.repeat(100));
  const { status, stderr, lines } = safety(['migrate', '--database', 'sqlite:notes.txt']);
  expect(status, stderr).not.toBe(0);
  expect(lines).toHaveLength(1);
});

test('an unknown option and an address of the world without a proxy are refused', () => {
  expect(safety(['serve', '--colour', 'blue']).status).not.toBe(0);
  expect(safety(['serve', '--colour', 'blue']).lines[0]).toContain('--colour');
  const open = safety(['serve', '--addr', '0.0.0.0:0']);
  expect(open.status).not.toBe(0);
  expect(open.lines.at(-1)).toMatch(/127\.0\.0\.1|proxy/);
});

test('a user is added with a password from standard input, and only once', () => {
  const add = () => safety(['user', 'add', 'zoe', '--role', 'reader', '--database', 'sqlite:safety.db'], { input: 'a long enough password\n' });
  expect(add().status).toBe(0);
  const again = add();
  expect(again.status).not.toBe(0);
  expect(again.lines).toHaveLength(1);
  expect(safety(['user', 'add', 'max', '--role', 'king', '--database', 'sqlite:safety.db'], { input: 'x\n' }).status).not.toBe(0);
});

test('without --demo there is no account, and Ctrl-C ends orderly within 5 seconds', async () => {
  const port = await freePort();
  const child: ChildProcess = spawn(join(bin, 'safety'), ['serve', '--addr', `127.0.0.1:${port}`], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (data) => { output += data; });
  await expect.poll(() => fetch(`http://127.0.0.1:${port}/readyz`).then((answer) => answer.status).catch(() => 0), { timeout: 20_000 }).toBe(200);
  expect(output).not.toContain('demo account');
  const health = await (await fetch(`http://127.0.0.1:${port}/healthz`)).json();
  expect(typeof health).toBe('object');
  const start = Date.now();
  const ended = new Promise((done) => child.once('exit', done));
  child.kill('SIGINT');
  await ended;
  expect(child.exitCode).toBe(0);
  expect(Date.now() - start).toBeLessThan(5000);
});
