// The HTTP interface and its document (schemas/openapi.json) say the same: each route of the program stands in it, each of
// its operations is asked of a running daemon, and each answer (status, type, headers, body) is one that it promises.
// And what stands behind the words: ETag, ranges, pages to the last one, the metrics' format, and whether /readyz means it.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { answers, freePort, main, nodeDir, scratch, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const require = createRequire(path.join(nodeDir, 'package.json'));
const Ajv = require('ajv/dist/2020').default;

const read = (name) => fs.readFileSync(path.join(sourceDir, name), 'utf8');
const document = JSON.parse(read('schemas/openapi.json'));
const ajv = new Ajv({ strict: false, validateFormats: false });
for (const name of ['frame.schema.json', 'lva-inference.schema.json']) ajv.addSchema(JSON.parse(read(`schemas/${name}`)), name);
ajv.addSchema({ ...document, $id: 'openapi.json' });

const resolve = (part) => (part?.$ref ? part.$ref.slice(2).split('/').reduce((at, key) => at[key], document) : part);
const pointer = (...keys) => `openapi.json#/${keys.map((key) => encodeURIComponent(key.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`;

// ---- the routes ----

function routesOf(file) {
  return [...read(file).matchAll(/\{((?:METHOD_\w+[ |]*)+),\s*"([^"]+)"/g)].flatMap(([, methods, pattern]) =>
    methods.split('|').map((method) => `${method.trim().slice('METHOD_'.length)} ${pattern.replace('**', '')}`));
}

function routesTold() {
  const told = Object.entries(document.paths).flatMap(([where, item]) => ['get', 'post'].filter((method) => item[method])
    .map((method) => `${method.toUpperCase()} ${where.replace(/\{[^}]*\}/g, '*')}`));
  const made = new Set(['webui/routes.c', 'webui/score.c'].flatMap(routesOf));
  assert.ok(made.size > 30, `only ${made.size} routes were found in the source`);
  assert.deepStrictEqual(told.sort(), [...made].sort(), 'routes of the program, and those of schemas/openapi.json');
}

// ---- one answer ----

const asked = new Set();

// The schemas of an answer by its type; $refs beside a schema file are read from where they stand.
function bodyMatches(what, keys, content, type, bytes) {
  const known = Object.keys(content).find((one) => one.split(';')[0] === type);
  assert.ok(known, `${what}: the type ${type} is not promised`);
  if (!/json$/.test(type) || !content[known].schema) return;
  const validate = ajv.getSchema(pointer(...keys, 'content', known, 'schema'));
  const body = JSON.parse(bytes.toString());
  assert.ok(validate(body), `${what}: ${ajv.errorsText(validate.errors)}: ${JSON.stringify(body).slice(0, 400)}`);
}

function promised(what, method, where, answer) {
  const { responses } = document.paths[where][method.toLowerCase()];
  const status = responses[answer.status] ? String(answer.status) : 'default';
  assert.ok(responses[status], `${what}: ${answer.status} is not promised: ${answer.bytes.toString().slice(0, 200)}`);
  const ref = responses[status].$ref;
  const keys = ref ? ref.slice(2).split('/') : ['paths', where, method.toLowerCase(), 'responses', status];
  const { headers = {}, content } = resolve(responses[status]);
  for (const [name, header] of Object.entries(headers)) {
    const value = answer.headers.get(name);
    assert.ok(value !== null || !header.required, `${what}: ${answer.status} without ${name}`);
    assert.ok(value === null || ajv.validate(header.schema, header.schema.type === 'integer' ? Number(value) : value), `${what}: ${name}: ${value}`);
  }
  if (answer.bytes.length && content) bodyMatches(what, keys, content, (answer.headers.get('content-type') ?? '').split(';')[0], answer.bytes);
  else assert.ok(!answer.bytes.length || answer.status === 303 || answer.status === 302, `${what}: a body is not promised`);
}

// Asks, and holds the answer against the document; `values` fill the {…} of the path, in order.
async function ask(base, method, where, { values = [], query = '', status = 200, ...options } = {}) {
  const filled = [...values];
  const url = `${base}${where.replace(/\{[^}]*\}/g, () => filled.shift())}${query}`;
  const reply = await fetch(url, { method, redirect: 'manual', ...options });
  const answer = { status: reply.status, headers: reply.headers, bytes: Buffer.from(await reply.arrayBuffer()) };
  const what = `${method} ${url.slice(base.length)}`;
  assert.strictEqual(answer.status, status, `${what}: ${answer.bytes.toString().slice(0, 300)}`);
  asked.add(`${method} ${where}`);
  promised(what, method, where, answer);
  if (method === 'GET') {
    const head = await fetch(url, { method: 'HEAD', redirect: 'manual', ...options });
    assert.deepStrictEqual([head.status, (await head.arrayBuffer()).byteLength], [status, 0], `HEAD of ${what}`);
  }
  return { ...answer, get json() { return JSON.parse(answer.bytes.toString()); } };
}

// What needs nothing to be known: all GETs without parameters in their path; of a query, what must be there.
async function plain(base) {
  for (const [where, item] of Object.entries(document.paths)) {
    if (!item.get || /[{]|events/.test(where)) continue;
    const needed = (item.get.parameters ?? []).map(resolve).filter(({ required }) => required);
    const query = needed.map(({ name, schema }, at) => `${at ? '&' : '?'}${name}=${schema.enum[0]}`).join('');
    await ask(base, 'GET', where, { query });
    if (query) await ask(base, 'GET', where, { status: 400 });
  }
}

// ---- the gallery's server ----

async function pages(base) {
  // Before the newest few: what comes later comes in front of them, also what was captured already.
  const newest = (await ask(base, 'GET', '/api/v1/frames', { query: '?limit=5' })).json.frames;
  const until = encodeURIComponent(newest.at(-1).captured);
  const whole = (await ask(base, 'GET', '/api/v1/frames', { query: `?limit=500&until=${until}` })).json.frames;
  const seen = [];
  let next = '', count = 0;
  for (; next !== null; count++) {
    const page = (await ask(base, 'GET', '/api/v1/frames', { query: `?limit=7&until=${until}&after=${next}` })).json;
    assert.ok(page.frames.length === 7 || page.next === null, 'a short page that is not the last');
    seen.push(...page.frames.map(({ id }) => id));
    ({ next } = page);
  }
  assert.deepStrictEqual(seen, whole.map(({ id }) => id), 'page by page it is the same as at once');
  assert.ok(count >= 3);
  for (const query of ['?limit=0', '?limit=501', '?after=nonsense', '?tier=other', '?min=2', '?since=tomorrow']) {
    await ask(base, 'GET', '/api/v1/frames', { query, status: 400 });
  }
  return whole;
}

async function pictures(base, frame) {
  const values = [frame.sha256], query = `?tier=${frame.tier}`;
  for (const [where, options] of [['/thumb/{sha256}', { values }], ['/blob/{sha256}', { values, query }], ['/assets/{name}', { values: ['app.css'] }]]) {
    const whole = await ask(base, 'GET', where, options);
    const again = await ask(base, 'GET', where, { ...options, status: 304, headers: { 'If-None-Match': whole.headers.get('etag') } });
    assert.strictEqual(again.bytes.length, 0);
    await ask(base, 'GET', where, { ...options, headers: { 'If-None-Match': '"another"' } });
  }
  const { bytes } = await ask(base, 'GET', '/blob/{sha256}', { values, query });
  const part = (range, status = 206) => ask(base, 'GET', '/blob/{sha256}', { values, query, status, headers: { Range: range } });
  for (const [range, from, to] of [['bytes=0-9', 0, 10], ['bytes=100-', 100], [`bytes=-20`, -20], [`bytes=10-${10 * bytes.length}`, 10]]) {
    assert.ok((await part(range)).bytes.equals(bytes.subarray(from, to)), range);
  }
  await part(`bytes=${bytes.length}-`, 416);
  await ask(base, 'GET', '/blob/{sha256}', { values: ['0'.repeat(64)], query, status: 404 });
  await ask(base, 'GET', '/blob/{sha256}', { values, query: `${query}&e=1&s=x`, status: 403 });
  await ask(base, 'GET', '/thumb/{sha256}', { values: ['0'.repeat(64)], status: 404 });
  return bytes;
}

async function orders(base, [frame, another]) {
  const post = (where, options) => ask(base, 'POST', where, options);
  const json = (body) => ({ headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  const form = (fields) => ({ body: new URLSearchParams(fields) });
  await ask(base, 'GET', '/frames/{frame}', { values: [frame.id] });
  assert.deepStrictEqual((await ask(base, 'GET', '/api/v1/frames/{frame}', { values: [frame.id] })).json.id, frame.id);
  await ask(base, 'GET', '/api/v1/frames/{frame}', { values: ['00000000-0000-7000-8000-000000000000'], status: 404 });
  await ask(base, 'GET', '/frames/{frame}/original', { values: [frame.id], status: 302 });
  for (const method of ['GET', 'POST']) await ask(base, method, '/api/v1/frames/{frame}/link', { values: [frame.id], query: '?ttl=60' });
  await post('/api/v1/frames/{frame}/link', { values: [frame.id], query: '?ttl=1', status: 400 });
  for (const act of ['pin', 'unpin', 'accepted', 'none']) await post('/api/v1/actions', json({ act, frames: [frame.id] }));
  await post('/api/v1/actions', json({ act: 'remove', frames: [frame.id], dry_run: true }));
  await post('/api/v1/actions', { ...json({ act: 'burn', frames: [frame.id] }), status: 400 });
  await post('/api/v1/actions', { body: '{}', status: 415 });
  for (const format of ['coco', 'yolo']) await post('/export', form({ format, frames: `${frame.id},${another.id}` }));
  await post('/export', { ...form({ format: 'zip', frames: frame.id }), status: 400 });
  const removal = (await post('/api/v1/removals', { ...json({ frames: [another.id], force: true }), status: 202 })).json;
  await ask(base, 'GET', '/api/v1/removals/{removal}', { values: [removal.id] });
  await ask(base, 'GET', '/api/v1/removals/{removal}', { values: ['nothing'], status: 404 });
  await post('/api/v1/removals', { ...json({ frames: [] }), status: 400 });
  const share = (await post('/api/v1/shares', { ...form({ title: 'For you', query: '', ttl: 600 }), status: 201 })).json;
  await post('/api/v1/shares', { ...form({ ttl: 1 }), status: 400 });
  await post('/shares', { ...form({ title: 'And you', ttl: 600 }), status: 303 });
  const token = new URL(share.url, base).pathname.split('/').pop();
  await ask(base, 'GET', '/s/{token}', { values: [token] });
  for (const where of ['/s/{token}/thumb/{frame}', '/s/{token}/image/{frame}']) await ask(base, 'GET', where, { values: [token, frame.id] });
  await ask(base, 'GET', '/s/{token}/image/{frame}', { values: ['forged', frame.id], status: 403 });
  await post('/api/v1/shares/{share}/revoke', { values: [share.id] });
  await ask(base, 'GET', '/s/{token}', { values: [token], status: 410 });
  const [other] = (await ask(base, 'GET', '/api/v1/shares')).json.shares.filter(({ revoked }) => !revoked);
  await post('/shares/{share}/revoke', { values: [other.id], status: 303 });
  await post('/api/v1/quarantine', { ...form({ act: 'retry', remote: 'nobody' }), status: 400 });
  await post('/quarantine', { ...form({ act: 'burn' }), status: 400 });
  await post('/login', { ...form({ user: 'nobody', password: 'nothing here' }), status: 403 });
  await post('/logout', { ...form({}), status: 303 });
}

async function live(base) {
  const end = new AbortController();
  const stream = await fetch(`${base}/live/events`, { signal: end.signal });
  asked.add('GET /live/events');
  assert.match(stream.headers.get('content-type'), /^text\/event-stream/);
  let text = '', look;
  for await (const some of stream.body) {
    text += Buffer.from(some).toString();
    const events = text.split('\n\n');
    text = events.pop(); // its end has not come yet
    look = events.map((event) => JSON.parse(event.slice('data: '.length)).cameras[0].look).find(Boolean);
    if (look) break;
  }
  end.abort();
  await ask(base, 'GET', '/live/picture/{camera}', { values: ['dock'], query: `?n=${look.number}` });
  await ask(base, 'GET', '/live/picture/{camera}', { values: ['Dock'], status: 400 });
  await ask(base, 'GET', '/live/picture/{camera}', { values: ['nobody'], status: 404 });
}

// ---- the server for pushed frames ----

async function pushed(base, picture) {
  const body = (type = 'image/jpeg') => ({ headers: { 'Content-Type': type }, body: picture });
  for (const where of ['/score', '/annotate', '/image', '/image/nostore']) {
    await ask(base, 'POST', where, body());
    await ask(base, 'POST', where, { ...body('text/plain'), status: 415 });
    await ask(base, 'POST', where, { ...body(), body: 'not a picture', status: 400 });
  }
  await ask(base, 'POST', '/score', { ...body(), query: '?confidence=2', status: 400 });
  await ask(base, 'POST', '/score', { ...body(), query: '?object=nothing', status: 204 });
  for (const where of ['/url', '/url/nostore']) await ask(base, 'POST', where, { status: 501 });
  await ask(base, 'POST', '/trigger', { query: '?camera=dock' });
  await ask(base, 'POST', '/trigger', { query: '?camera=nobody', status: 404 });
  await ask(base, 'POST', '/trigger', { query: '?camera=No', status: 400 });
}

// ---- the metrics: Prometheus text exposition format 0.0.4, and the conventions for names ----

function labelsOf(text) {
  const labels = {};
  let rest = text;
  while (rest) {
    const [all, name, value] = /^([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=.)|$)/.exec(rest) ?? assert.fail(`labels: ${text}`);
    assert.ok(!(name in labels), `labels: ${text}`);
    labels[name] = value;
    rest = rest.slice(all.length);
  }
  return labels;
}

// {name: {type, help, samples: [{name, labels, value}]}}; throws on what the format does not allow.
function metricsOf(text) {
  const families = {};
  let now = null;
  assert.ok(text.endsWith('\n'), 'the last line ends');
  for (const line of text.slice(0, -1).split('\n')) {
    const [, word, name, value] = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)$/.exec(line) ?? [];
    if (word) {
      if (now?.name !== name) {
        assert.ok(!families[name], `${name} is told twice, or in two places`);
        now = families[name] = { name, samples: [] };
      }
      assert.ok(!now[word] && !now.samples.length, `${word} of ${name} is told twice, or after its samples`);
      now[word] = value;
      continue;
    }
    const [, sample, labels, number] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (-?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|Inf)|NaN|\+Inf)$/i.exec(line)
      ?? assert.fail(`no line of the format: ${line}`);
    assert.ok(now && [now.name, ...(now.TYPE === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => now.name + end) : [])]
      .includes(sample), `${sample} stands under ${now?.name}`);
    now.samples.push({ name: sample, labels: labelsOf(labels ?? ''), value: Number(number.replace('Inf', 'Infinity')) });
  }
  return families;
}

function histogramRight({ name, samples }) {
  const buckets = samples.filter((sample) => sample.name === `${name}_bucket`);
  const bounds = buckets.map(({ labels }) => Number(labels.le.replace('Inf', 'Infinity')));
  const one = (end) => samples.filter((sample) => sample.name === name + end);
  assert.deepStrictEqual([one('_sum').length, one('_count').length, bounds.at(-1)], [1, 1, Infinity], name);
  for (let i = 1; i < buckets.length; i++) {
    assert.ok(bounds[i] > bounds[i - 1] && buckets[i].value >= buckets[i - 1].value, `${name}: bucket ${bounds[i]} is not cumulative`);
  }
  assert.strictEqual(buckets.at(-1).value, one('_count')[0].value, name);
}

function metricsRight(text) {
  const families = metricsOf(text);
  for (const [name, { HELP, TYPE, samples }] of Object.entries(families)) {
    assert.match(name, /^creel_[a-z][a-z0-9_]*$/);
    assert.ok(HELP && ['counter', 'gauge', 'histogram'].includes(TYPE), `${name}: ${TYPE}`);
    assert.strictEqual(/_total$/.test(name), TYPE === 'counter', `${name} is a ${TYPE}: _total is for counters, and for all of them`);
    assert.doesNotMatch(name, /_(ms|us|kb|mb|kib|mib|percent|minutes|hours)(_|$)/, 'base units only');
    const series = samples.map((sample) => JSON.stringify([sample.name, Object.entries(sample.labels).sort()]));
    assert.strictEqual(new Set(series).size, series.length, `${name}: a series comes twice`);
    assert.ok(samples.every(({ value }) => TYPE === 'gauge' || value >= 0), name);
    if (TYPE === 'histogram') histogramRight(families[name]);
  }
  return families;
}

// ---- ----

async function readyMeansIt(base) {
  const state = async () => (await (await fetch(`${base}/api/v1/status`)).json()).pipeline.workers;
  await until('a server that is not ready without a worker', async () => {
    for (const { pid } of await state()) if (pid > 0) process.kill(pid, 'SIGKILL');
    const ready = await fetch(`${base}/readyz`);
    if (ready.status === 503) assert.match((await ready.json()).detail, /worker/);
    return ready.status === 503;
  }, 15000);
  await ask(base, 'GET', '/healthz');
  await until('a worker again', answers(`${base}/readyz`), 15000);
}

await main(async () => {
  routesTold();
  const dir = scratch('openapi');
  const [web, ingest] = [await freePort(), await freePort()];
  const base = `http://127.0.0.1:${web}`;
  const daemon = await startDaemon(writeConfig(dir, `
device: {id: test-device, clock: trusted}
cameras: {dock: {source: "demo:", fps: 20, seed: 3}}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
inference: {workers: 1}
triage:
  budget: {per: off, day: off}
  rules: [confident, unsure, asked]
  define: {asked: {kind: trigger, cameras: [dock], before: 1s, after: 1s}}
store: {dir: ${dir}/store, quota: 256MiB, min_free: off}
sync: {remotes: {near: {type: directory, path: ${dir}/near}}}
web: {listen: "127.0.0.1:${web}"}
ingest: {listen: "127.0.0.1:${ingest}"}
`), answers(`${base}/readyz`));
  await until('frames', async () => (await (await fetch(`${base}/api/v1/frames?limit=30`)).json()).frames.length >= 30);
  await plain(base);
  const [frame, another] = await pages(base);
  const picture = await pictures(base, frame);
  await orders(base, [frame, another]);
  await live(base);
  await pushed(`http://127.0.0.1:${ingest}`, picture);
  const families = metricsRight((await ask(base, 'GET', '/metrics')).bytes.toString());
  assert.ok(families.creel_detect_seconds && families.creel_sync_pending_objects && families.creel_http_requests_total);
  const left = Object.entries(document.paths).flatMap(([where, item]) => ['GET', 'POST'].filter((method) => item[method.toLowerCase()])
    .map((method) => `${method} ${where}`)).filter((one) => !asked.has(one));
  assert.deepStrictEqual(left, [], 'operations of the document that this test does not ask');
  await readyMeansIt(base);
  assert.strictEqual(await stop(daemon), 0);
  console.log(`${asked.size} operations, ${Object.keys(families).length} metrics`);
});
