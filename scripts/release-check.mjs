// Starts a release from an empty folder and compares each asset that it serves, plain and compressed, with the site folder.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';

const [binary, site] = process.argv.slice(2);
const port = Number(process.env.PORT ?? 38475);
const folder = mkdtempSync(join(tmpdir(), 'coati-release-'));
const server = spawn(binary, ['serve', '--addr', `127.0.0.1:${port}`], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
let log = '';
for (const stream of [server.stdout, server.stderr]) stream.on('data', (data) => { log += data; });

function get(path, encoding = 'identity') {
  return new Promise((done, fail) => {
    request({ host: '127.0.0.1', port, path, headers: { 'Accept-Encoding': encoding } }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts) }));
    }).on('error', fail).end();
  });
}

const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');
const unpack = { br: brotliDecompressSync, gzip: gunzipSync, undefined: (bytes) => bytes };
let passed = 0;
let failed = 0;
const check = (what, fine) => { fine ? passed++ : failed++; console.log(`${fine ? 'ok    ' : 'FAILED'} ${what}`); };

try {
  for (let tries = 0; tries < 100; tries++) {
    if ((await get('/healthz').catch(() => ({}))).status === 200) break;
    await new Promise((done) => setTimeout(done, 50));
  }
  const login = String((await get('/login')).body);
  const base = login.match(/\/pkg\/[0-9a-f]{8,}\//)?.[0];
  check(`the pages name assets below a folder per build: ${base}`, Boolean(base));
  for (const name of readdirSync(site, { recursive: true })) {
    const file = join(site, name);
    if (!statSync(file).isFile() || /\.(br|gz)$/.test(name)) continue;
    const plain = readFileSync(file);
    for (const encoding of ['identity', 'gzip', 'br']) {
      const { status, headers, body } = await get(name.replace(/^pkg\//, base), encoding);
      const same = status === 200 && hash(unpack[headers['content-encoding']](body)) === hash(plain);
      check(`${name} asked as ${encoding}, sent as ${headers['content-encoding'] ?? 'identity'}, ${body.length} bytes, sha256 ${hash(plain).slice(0, 16)}…`, same);
      check(`${name} may be cached for ever`, /immutable/.test(headers['cache-control'] ?? ''));
    }
  }
} finally {
  server.kill('SIGTERM');
  await new Promise((done) => server.once('exit', done));
  check('it ends orderly', server.exitCode === 0);
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
if (failed > 0) { console.log(log); process.exit(1); }
