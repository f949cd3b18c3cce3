// How long a page takes, one after the other over one kept connection, until its last byte is here. Cursors and frames differ
// from request to request, so that no page is asked for again.
import http from 'node:http';

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

// {status, bytes, ms}
function get(url) {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    http.get(url, { agent }, (reply) => {
      let bytes = 0;
      reply.on('data', (part) => { bytes += part.length; });
      reply.on('end', () => resolve({ status: reply.statusCode, bytes, ms: performance.now() - start }));
    }).on('error', reject);
  });
}

const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];

async function measure(base, requests, path) {
  const times = [];
  let bytes = 0;
  for (let i = -10; i < requests; i++) { // the first ones warm up
    const reply = await get(base + path(Math.abs(i)));
    if (reply.status !== 200) throw new Error(`${path(Math.abs(i))}: ${reply.status}`);
    if (i >= 0) times.push(reply.ms);
    bytes = Math.max(bytes, reply.bytes);
  }
  times.sort((a, b) => a - b);
  return { p50: quantile(times, 0.5), p95: quantile(times, 0.95), p99: quantile(times, 0.99), worst: times.at(-1), bytes };
}

// Cursors: frames are a second apart and their sequence has no gaps.
async function cursors(base, frames) {
  const { next } = await (await fetch(`${base}/api/v1/frames?limit=1`)).json();
  const [utc, seq] = next.split('-').map(BigInt);
  const at = (depth) => `${utc - BigInt(depth) * 1000000n}-${seq - BigInt(depth)}`;
  const time = (depth) => new Date(Number(utc / 1000n) - depth * 1000).toISOString();
  return { anywhere: (i) => at(Math.floor(((i * 0.618034) % 1) * frames * 0.99)), at, time };
}

async function listed(base, frames) {
  const { at, anywhere, time } = await cursors(base, frames);
  const near = (share) => (i) => `after=${at(Math.floor(frames * share) + (i * 61) % Math.floor(frames * 0.04))}`;
  const filtered = (query) => (i) => (i % 2 ? `${query}&after=${anywhere(i)}` : query);
  const hours = (i) => Math.floor(frames / 2) + (i * 3600) % Math.floor(frames / 4);
  return [
    ['first page', () => ''],
    ['deep page, the middle', near(0.5)],
    ['deep page, the end', near(0.95)],
    ['oldest first', filtered('order=oldest')],
    ['a tier', filtered('tier=annotated')],
    ['a camera', filtered('camera=cam-3')],
    ['a camera and a class', filtered('camera=cam-3&class=class-05')],
    ['a class from 90 %', filtered('class=class-40&min=0.9')],
    ['confidence from 90 %', filtered('min=0.9')],
    ['a rule of 5 %', filtered('rule=empty')],
    ['a rule of 0.1 %', filtered('rule=audit')],
    ['judged right', () => 'label=accepted'],
    ['not judged', filtered('label=none')],
    ['pinned', () => 'pinned=yes'],
    ['replicated (none is)', () => 'sync=done'],
    ['six hours', (i) => `since=${time(hours(i) + 21600)}&until=${time(hours(i))}`],
    ['six hours, a camera, not judged', (i) => `since=${time(hours(i) + 21600)}&until=${time(hours(i))}&camera=cam-3&label=none`],
  ];
}

async function others(base) {
  const { frames } = await (await fetch(`${base}/api/v1/frames?limit=500`)).json();
  const id = (i) => frames[i % frames.length].id;
  return [
    ['a frame', (i) => `/frames/${id(i)}`, (i) => `/api/v1/frames/${id(i)}`],
    ['counts by hour', null, () => '/api/v1/hours'],
    ['counts by hour, a camera', null, () => '/api/v1/hours?camera=cam-3'],
    ['counts by hour, a rule of 5 %', null, () => '/api/v1/hours?rule=empty'],
    ['status', () => '/status', () => '/api/v1/status'],
  ];
}

const cell = (value, width, decimals = 2) => (value === undefined ? '-' : value.toFixed(decimals)).padStart(width);
const cells = (of) => `${cell(of?.p50, 9)}${cell(of?.p95, 8)}${cell(of?.p99, 8)}${cell(of && of.bytes / 1024, 7, 0)}`;

export async function pagesPart({ base, frames, requests }) {
  const lists = (await listed(base, frames)).map(([name, query]) =>
    [name, (i) => `/?${query(i)}`, (i) => `/api/v1/frames?limit=60&${query(i)}`]);
  const rows = [];
  console.log(`\n${'page, ms (60 frames)'.padEnd(34)}${'HTML p50'.padStart(9)}${'p95'.padStart(8)}${'p99'.padStart(8)}${'KiB'.padStart(7)}` +
    `${'API p50'.padStart(9)}${'p95'.padStart(8)}${'p99'.padStart(8)}${'KiB'.padStart(7)}`);
  for (const [name, page, api] of [...lists, ...await others(base)]) {
    const row = { name, html: page ? await measure(base, requests, page) : undefined, api: await measure(base, requests, api) };
    rows.push(row);
    console.log(`${name.padEnd(34)}${cells(row.html)}${cells(row.api)}`);
  }
  const worst = Math.max(...rows.flatMap((row) => [row.html?.p95 ?? 0, row.api.p95]));
  console.log(`greatest p95: ${worst.toFixed(2)} ms (to reach: under 20)`);
  return rows;
}
