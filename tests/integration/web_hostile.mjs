// What strangers send to the gallery and to the door for frames, against the real daemon while its camera runs: too much, too
// slow, paths that lead out, forged and expired links and logins, 10,000 silent connections, callers whose verdict does
// not come. Each gets its status, and after each the camera's frames go on, none was dropped, and the descriptors are back.
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { answers, creel, curlScore, freePort, main, run, runJson, scratch, sleep, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const password = 'correct horse';
const CROWD = 10000;
let config, daemon, port, ingest, base, session, csrf;

// Sends bytes as they are, then `drip` again and again; {status, head, body, ms} when the other side is done or has answered.
function raw(to, bytes, { drip = null, everyMs = 300, limitMs = 12000 } = {}) {
  return new Promise((resolve) => {
    const begin = Date.now();
    const chunks = [];
    const socket = net.connect(to, '127.0.0.1');
    const timer = drip === null ? null : setInterval(() => socket.write(drip), everyMs);
    const late = setTimeout(() => socket.destroy(), limitMs);
    socket.on('error', () => {});
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      clearInterval(timer);
      clearTimeout(late);
      const text = Buffer.concat(chunks).toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      const [, status] = /^HTTP\/1\.1 (\d+)/.exec(text.replace(/^HTTP\/1\.1 100[^]*?\r\n\r\n/, '')) || [];
      resolve({ status: Number(status || 0), head: text.slice(0, end), body: text.slice(end + 4), ms: Date.now() - begin });
    });
    socket.write(bytes);
  });
}

const request = (method, target, lines = [], body = '') =>
  `${method} ${target} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
const asAnna = () => [`Cookie: creel=${session}`];
const pid = () => daemon.pid;
const descriptors = () => fs.readdirSync(`/proc/${pid()}/fd`).length;
const memoryKiB = () => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid()}/status`, 'utf8'))[1]);
const camera = () => runJson('status', '--json', '--config', config).cameras[0];
const workers = () => fs.readdirSync(`/proc/${pid()}/task`)
  .flatMap((task) => fs.readFileSync(`/proc/${pid()}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number))
  .filter((child) => /creel-worker/.test(fs.readFileSync(`/proc/${child}/cmdline`, 'utf8')));

async function expects(status, to, bytes, what, options) {
  const reply = await raw(to, bytes, options);
  const allowed = [].concat(status);
  assert.ok(allowed.includes(reply.status), `${what}: ${reply.status} instead of ${allowed}: ${reply.head}\n${reply.body.slice(0, 300)}`);
  return reply;
}

// The camera's frames go on, and no descriptor stays behind.
async function unharmed(what, attack) {
  const before = camera(), files = descriptors(), begin = Date.now();
  await attack();
  const tookMs = Date.now() - begin;
  const after = await until(`frames after ${what}`, () => { const now = camera(); return now.frames_seen >= before.frames_seen + 2 && now; });
  assert.strictEqual(after.dropped, before.dropped, `${what}: frames of the camera were dropped`);
  assert.strictEqual(after.failed, before.failed, `${what}: frames of the camera failed`);
  await until(`descriptors after ${what}`, () => descriptors() <= files + 4);
  console.log(`${what}: ${tookMs} ms, frames ${before.frames_seen} to ${after.frames_seen}`);
}

async function logIn() {
  const form = `user=anna&password=${password.replace(' ', '+')}`;
  const reply = await expects(303, port, request('POST', '/login',
    ['Content-Type: application/x-www-form-urlencoded', `Content-Length: ${form.length}`], form), 'log-in');
  [, session] = /Set-Cookie: creel=([^;]+)/.exec(reply.head);
  [, csrf] = /Set-Cookie: creel-csrf=([^;]+)/.exec(reply.head);
}

async function tooMuch() {
  const long = (size) => 'a'.repeat(size);
  const json = ['Content-Type: application/json', `X-Creel-CSRF: ${csrf}`, ...asAnna()];
  const deep = '['.repeat(30000);
  await Promise.all([
    expects(414, port, request('GET', `/?camera=${long(5000)}`, asAnna()), 'a long address'),
    expects([414, 431], port, request('GET', `/${long(70000)}`), 'a longer address'),
    expects(431, port, request('GET', '/', [`X-Long: ${long(40000)}`]), 'a long header'),
    expects(431, port, request('GET', '/', Array.from({ length: 3000 }, (_, i) => `X-${i}: a`)), 'many headers'),
    expects(413, port, request('POST', '/login', ['Content-Length: 70000'], long(70000)), 'a long form'),
    expects(413, port, request('POST', '/login', ['Content-Length: 1099511627776']), 'a form of a tebibyte'),
    expects(413, port, request('POST', '/login', ['Transfer-Encoding: chunked'], `11170\r\n${long(70000)}\r\n0\r\n\r\n`), 'a form in chunks'),
    expects(400, port, request('POST', '/login', ['Content-Length: -1']), 'a negative length'),
    expects(400, port, request('POST', '/login', ['Content-Length: 12x']), 'a length that is none'),
    expects(400, port, request('POST', '/login', ['Transfer-Encoding: chunked'], 'zz\r\nuser=a\r\n'), 'chunks without a size'),
    expects(413, ingest, request('POST', '/score', ['Content-Type: image/jpeg', 'Content-Length: 4294967296']), 'a frame of 4 GiB'),
    expects(400, ingest, request('POST', '/score', ['Content-Type: image/jpeg', 'Content-Length: 9'], 'no-jpeg-x'), 'no picture'),
    expects(400, port, request('POST', '/api/v1/actions', [...json, `Content-Length: ${deep.length}`], deep), 'deep JSON'),
    expects(413, port, request('POST', '/api/v1/actions', [...json, 'Content-Length: 80000'], long(80000)), 'long JSON'),
    expects(405, port, request('DELETE', '/', asAnna()), 'a method that is not served'),
    expects([0, 400], port, 'GET\r\n\r\n', 'half a request line: the connection ends'),
    expects([400, 505], port, 'GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n', 'another protocol'),
    expects(403, port, 'GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n', 'another host'),
  ]);
}

// With web.timeout 1 s a head has two seconds, however lively it dribbles.
const slow = () => [
  raw(port, 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ', { drip: 'a' }),
  raw(ingest, 'POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ', { drip: 'a' }),
  raw(port, 'GET / HTTP/1.1\r\n'),
  raw(port, 'POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nuser='),
];

async function slowEnds(requests) {
  const [head, frame, silent, body] = await Promise.all(requests);
  for (const { ms } of [head, frame]) assert.ok(ms > 1500 && ms < 8000, `a slow head was ended after ${ms} ms`);
  for (const { ms } of [silent, body]) assert.ok(ms < 8000, `a silent connection was ended after ${ms} ms`);
}

async function pathsOut() {
  const out = ['../../../../etc/passwd', '..%2f..%2f..%2f..%2fetc%2fpasswd', '%2e%2e/%2e%2e/%2e%2e/etc/passwd',
    '%252e%252e%252fetc%252fpasswd', '..%5c..%5cetc%5cpasswd', '%c0%ae%c0%ae/etc/passwd', '/etc/passwd', '.', '..'];
  const targets = out.flatMap((at) => [[`/assets/${at}`, 404], [`/thumb/${at}`, 404], [`/blob/${at}?tier=annotated`, [400, 404]],
    [`/s/${at}`, [403, 404]], [`/frames/${at}`, [400, 404]], [`/api/v1/frames/${at}`, [400, 404]]]);
  await Promise.all([...targets, ['/assets/app.js%00.css', 400], ['/?camera=dock%00x', 400], ['//etc/passwd', 404], ['/../etc/passwd', 404], ['/%2e%2e/etc/passwd', 404]].map(async ([target, status]) => {
    const reply = await expects(status, port, request('GET', target, asAnna()), target);
    assert.ok(!/root:.*:0:0:/.test(reply.body), target);
  }));
}

async function forged() {
  const flip = (text, at) => text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1);
  const link = runJson('link', '@last', '--ttl', '1s', '--json', '--config', config).url;
  const good = runJson('link', '@last', '--ttl', '60s', '--json', '--config', config).url;
  const target = good.slice(good.indexOf('/blob/'));
  const json = ['Content-Type: application/json', `X-Creel-CSRF: ${csrf}`, ...asAnna()];
  const wish = '{"title":"t","query":"","ttl":60}';
  const made = await expects([200, 201], port, request('POST', '/api/v1/shares', [...json, `Content-Length: ${wish.length}`], wish), 'a share');
  const share = JSON.parse(made.body);
  const door = new URL(share.url).pathname;
  await expects(200, port, request('GET', door), 'a share');
  await expects(200, port, request('GET', target), 'a link');
  const revoke = () => expects([200, 204], port, request('POST', `/api/v1/shares/${share.id}/revoke`, [...json, 'Content-Length: 2'], '{}'), 'taking back');
  await Promise.all([
    ...[target.replace(/e=\d+/, 'e=9999999999'), flip(target, target.length - 5), target.replace(/&s=.*/, '&s='),
      target.replace('tier=annotated', 'tier=x').replace('tier=unannotated', 'tier=annotated').replace('tier=x', 'tier=unannotated'),
      target.replace(/&e=\d+/, ''), target.replace(/&e=\d+/, '&e=-1'), flip(target, 8).replace(/^(.{8}).(.*)$/, (all, a, b) => a + 'f' + b)]
      .filter((text) => text !== target).map((text) => expects(403, port, request('GET', text), text)),
    ...[flip(door, 4), flip(door, 20), flip(door, door.length - 2), `${door}A`, door.slice(0, -1), '/s/A', `/s/${'A'.repeat(300)}`]
      .map((text) => expects([403, 404, 401], port, request('GET', text), text)), // 401: no share's address
    ...[`creel=${flip(session, 3)}`, 'creel=', `creel=${csrf}`, 'creel=anna', `creel=${'A'.repeat(3000)}`, `__Host-creel=${session}`]
      .map((cookie) => expects(401, port, request('GET', '/api/v1/frames', [`Cookie: ${cookie}`]), cookie)),
    ...['Bearer creel_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', 'Bearer ', `Bearer ${session}`, 'Basic YW5uYTpjb3JyZWN0IGhvcnNl', 'Basic ****']
      .map((login) => expects(401, port, request('GET', '/api/v1/frames', [`Authorization: ${login}`]), login)),
    expects(403, port, request('POST', '/logout', [...asAnna(), `X-Creel-CSRF: ${flip(csrf, 1)}`]), 'a forged CSRF token'),
    expects(403, port, request('POST', '/logout', [...asAnna(), `X-Creel-CSRF: ${csrf}`, 'Origin: https://evil.example']), 'another origin'),
    expects(403, port, request('POST', '/logout', [...asAnna(), `X-Creel-CSRF: ${csrf}`, 'Sec-Fetch-Site: cross-site']), 'another site'),
    revoke().then(() => expects(410, port, request('GET', door), 'a share that was taken back')),
    sleep(1100).then(() => expects(410, port, request('GET', link.slice(link.indexOf('/blob/'))), 'a link that has ended')),
  ]);
}

// Who said it is in the frame's life.
async function signedWords() {
  const { id } = runJson('show', '@last', '--json', '--config', config);
  const wish = JSON.stringify({ act: 'wanted', frames: [id] });
  await expects(200, port, request('POST', '/api/v1/actions', ['Content-Type: application/json', `X-Creel-CSRF: ${csrf}`, ...asAnna(),
    `Content-Length: ${wish.length}`], wish), 'a word');
  await until('the word', () => /labeled +wanted for labeling by anna/.test(run('why', id, '--config', config).stdout.toString()));
}

async function longFilters() {
  const filters = ['camera=dock&tier=annotated&class=person&min=0.99&rule=none&label=missed&pinned=yes',
    'camera=dock&class=person&label=none&sync=pending', 'rule=none&order=oldest', 'class=nothing&min=1', 'label=none&pinned=yes'];
  const times = await Promise.all(filters.map(async (filter) =>
    (await expects(200, port, request('GET', `/api/v1/frames?${filter}`, asAnna()), filter)).ms));
  assert.ok(Math.max(...times) < 2000, `filters took ${times} ms`);
  await Promise.all(['tier=x', 'min=2', 'min=nan', 'min=-1', 'camera=A%20B', 'since=yesterday', 'label=x', 'sync=x', 'limit=0', 'limit=99999999', 'after=x', 'pinned=x']
    .map((filter) => expects(400, port, request('GET', `/api/v1/frames?${filter}`, asAnna()), filter)));
}

// As many as may be open at once here; half of them say nothing, the others begin.
async function crowd() {
  const limit = Number(spawnSync('sh', ['-c', 'ulimit -Hn']).stdout.toString());
  const count = Math.min(CROWD, Number.isFinite(limit) ? limit - 500 : CROWD);
  const before = memoryKiB();
  const sockets = [];
  let ended = 0, worst = 0, most = 0, open = 0;
  const opened = (async () => {
    while (sockets.length < count) {
      for (let i = 0; i < 100 && sockets.length < count; i++) {
        const socket = net.connect(port, '127.0.0.1', () => { open++; });
        if (i % 2) socket.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ');
        socket.on('error', () => {}).on('close', () => { ended++; }).resume();
        sockets.push(socket);
      }
      await sleep(5);
    }
  })();
  let done = false;
  opened.then(() => { done = true; });
  let asked = 0;
  while (!done) {
    const reply = await expects(200, port, request('GET', '/api/v1/frames?limit=10', asAnna()), 'the gallery in a crowd');
    worst = Math.max(worst, reply.ms);
    most = Math.max(most, descriptors());
    asked++;
  }
  await until('the crowd to be gone', () => ended >= count - 10);
  const grown = memoryKiB() - before;
  for (const socket of sockets) socket.destroy();
  assert.ok(asked >= 3 && worst < 3000, `${asked} requests in the crowd, the slowest ${worst} ms`);
  assert.ok(most < 1000, `${most} descriptors at once`);
  assert.ok(grown < 64 * 1024, `memory grew by ${grown} KiB`);
  console.log(`crowd: ${open} of ${count} connected, at most ${most} descriptors, +${grown} KiB, slowest of ${asked} requests ${worst} ms`);
}

// Callers wait for a verdict that does not come: the gallery does not.
async function waiting() {
  const file = path.join(path.dirname(config), 'frame.jpg');
  fs.writeFileSync(file, run('get', '@last', '--config', config).stdout);
  const stopped = workers();
  assert.ok(stopped.length > 0, 'no worker to stop');
  for (const worker of stopped) process.kill(worker, 'SIGSTOP');
  try {
    const callers = Array.from({ length: 30 }, () => curlScore(ingest, file));
    await sleep(100);
    for (let i = 0; i < 10; i++) {
      const reply = await expects(200, port, request('GET', '/', asAnna()), 'the gallery while callers wait');
      assert.ok(reply.ms < 2000, `the gallery took ${reply.ms} ms while callers waited`);
    }
    for (const worker of stopped) process.kill(worker, 'SIGCONT');
    for (const reply of await Promise.all(callers)) {
      assert.ok([200, 204, 503].includes(reply.status), `a caller who waited: ${reply.status} ${reply.body}`);
    }
  } finally {
    for (const worker of stopped) try { process.kill(worker, 'SIGCONT'); } catch { /* gone */ }
  }
}

// The brake, last: it would keep everybody of this address out.
async function guesses() {
  const guess = (text) => {
    const form = `user=anna&password=${text}`;
    return raw(port, request('POST', '/login', ['Content-Type: application/x-www-form-urlencoded', `Content-Length: ${form.length}`], form));
  };
  const replies = await Promise.all(Array.from({ length: 20 }, (_, i) => guess(`wrong-horse-${i}`)));
  const braked = replies.filter(({ status }) => status === 429);
  assert.ok(braked.length >= 14, `${braked.length} of 20 guesses were braked`);
  for (const { head } of braked) assert.match(head, /Retry-After: [1-9]\d*\r\n/);
  assert.ok(replies.every(({ status }) => status === 429 || status === 403), `${replies.map(({ status }) => status)}`);
  assert.strictEqual((await guess(password.replace(' ', '+'))).status, 429, 'the right one too');
  await expects(200, port, request('GET', '/', asAnna()), 'who is in stays in');
}

await main(async () => {
  const dir = scratch('web-hostile');
  [port, ingest] = [await freePort(), await freePort()];
  base = `http://127.0.0.1:${port}`;
  config = writeConfig(dir, `
version: 1
device: {id: web-hostile, clock: trusted}
cameras: {dock: {source: "demo:", fps: 10, seed: 3}}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off}
inference: {workers: 1, queue: 64}
web: {listen: "127.0.0.1:${port}", timeout: 1s}
ingest: {listen: "127.0.0.1:${ingest}"}
`);
  daemon = await startDaemon(config, answers(`${base}/readyz`));
  const added = spawnSync(creel, ['user', 'add', 'anna', '--role', 'admin', '--config', config], { input: `${password}\n`, encoding: 'utf8' });
  assert.strictEqual(added.status, 0, added.stderr);
  await until('a frame', () => run('show', '@last', '--json', '--config', config).status === 0);
  await logIn();
  const dribbling = slow();
  await unharmed('too much', tooMuch);
  await unharmed('paths that lead out', pathsOut);
  await unharmed('forged and ended', forged);
  await unharmed('a word with a name', signedWords);
  await unharmed('filters', longFilters);
  await unharmed('callers that wait', waiting);
  await unharmed('a crowd', crowd);
  await slowEnds(dribbling);
  await unharmed('guesses', guesses);
  assert.ok(!fs.readFileSync(daemon.logFile, 'utf8').includes(password));
  assert.strictEqual(await stop(daemon), 0);
});
