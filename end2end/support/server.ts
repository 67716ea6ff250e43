// A private `safety` server: own folder, own port, own database; it can be killed and started again where it was.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
/** The folder of the built programs. */
const bin = process.env.COATI_BIN ?? resolve(here, '../../target/debug');
const site = process.env.COATI_SITE ?? resolve(here, '../../target/site');

export interface Account { login: string; password: string; role: string }

export interface Options {
  /** Rows of demo data. */
  rows?: number;
  /** `off`: only the feed's timer finds changes. */
  hints?: 'on' | 'off';
  /** Further names that the server answers to, such as a proxy's `127.0.0.1:1234`. */
  hosts?: string[];
  env?: Record<string, string>;
}

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((done) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });
}

/** A database file with that many rows, made once per run. */
function seeded(rows: number): string {
  const folder = process.env.COATI_SEEDS!;
  const file = join(folder, `${rows}.db`);
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true });
    execFileSync(join(bin, 'safety'), ['seed', '--rows', String(rows), '--database', `sqlite:${file}`], { cwd: folder, stdio: 'pipe' });
  }
  return file;
}

export class Server {
  readonly folder = mkdtempSync(join(tmpdir(), 'coati-e2e-'));
  readonly database = join(this.folder, 'safety.db');
  readonly output: string[] = [];
  private child?: ChildProcess;

  private constructor(readonly port: number, private readonly options: Options) {}

  static async start(options: Options = {}): Promise<Server> {
    const server = new Server(await freePort(), options);
    const seed = seeded(options.rows ?? 2000);
    for (const suffix of ['', '-wal']) {
      if (existsSync(seed + suffix)) copyFileSync(seed + suffix, server.database + suffix);
    }
    await server.restart();
    return server;
  }

  get url(): string { return `http://127.0.0.1:${this.port}`; }

  get text(): string { return this.output.join(''); }

  /** The demo accounts that the server printed. */
  get accounts(): Account[] {
    const found = new Map<string, Account>();
    for (const [, login, password, role] of this.text.matchAll(/demo account: (\S+) \/ (\S+) \((\S+)\)/g)) {
      found.set(login, { login, password, role });
    }
    return [...found.values()];
  }

  account(role: string): Account {
    const found = this.accounts.find((account) => account.role === role);
    if (!found) throw new Error(`no demo account with the role ${role} in:\n${this.text}`);
    return found;
  }

  /** Starts on the same port and database as before; resolves when it is ready. */
  async restart(env: Record<string, string> = {}): Promise<void> {
    const hosts = (this.options.hosts ?? []).flatMap((host) => ['--host', host]);
    const child = spawn(join(bin, 'safety'), ['serve', '--demo', '--addr', `127.0.0.1:${this.port}`, '--database', `sqlite:${this.database}`, ...hosts], {
      cwd: this.folder,
      env: { ...process.env, COATI_SITE: site, COATI_FEED_HINTS: this.options.hints ?? 'on', ...this.options.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child = child;
    let ended = false;
    child.on('exit', () => { ended = true; });
    for (const stream of [child.stdout, child.stderr]) stream!.on('data', (data) => this.output.push(String(data)));
    const until = Date.now() + 20_000;
    while (Date.now() < until && !ended) {
      const ready = await fetch(`${this.url}/readyz`).catch(() => undefined);
      if (ready?.ok) return;
      await new Promise((done) => setTimeout(done, 30));
    }
    throw new Error(`the server did not start:\n${this.text}`);
  }

  private ended(signal: NodeJS.Signals): Promise<void> {
    const child = this.child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
    return new Promise((done) => {
      child.once('exit', () => done());
      child.kill(signal);
    });
  }

  /** What no program can catch: kill -9. */
  kill(): Promise<void> { return this.ended('SIGKILL'); }

  /** An orderly end; true if it took less than 5 seconds and the exit code was 0. */
  async terminate(): Promise<boolean> {
    const start = Date.now();
    await this.ended('SIGTERM');
    return Date.now() - start < 5000 && this.child?.exitCode === 0;
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** One number of /metrics: the sum over all labels. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(name) && /^[{ ]/.test(line.slice(name.length)));
    if (lines.length === 0) throw new Error(`no metric ${name} in:\n${text}`);
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  /** Another process that writes to the same file, without telling the server. */
  foreignWriter(...args: string[]): string {
    return String(execFileSync(join(bin, 'examples/foreign_writer'), [`sqlite:${this.database}`, ...args], { cwd: this.folder }));
  }

  /** An independent program reads the file: Debian's sqlite3. */
  select(sql: string): Record<string, unknown>[] {
    const text = String(execFileSync('sqlite3', ['-readonly', '-json', '-cmd', '.timeout 5000', this.database, sql], { maxBuffer: 1 << 26 }));
    return text.trim() === '' ? [] : JSON.parse(text);
  }

  /** An independent program writes to the file. */
  execute(sql: string): void {
    execFileSync('sqlite3', ['-cmd', '.timeout 5000', this.database, sql]);
  }
}
