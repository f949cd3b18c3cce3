// The status page in a real browser, against the real daemon with a remote that refuses what it has other bytes for: what
// waits and why, what is tried again and what is given up, with and without script, and who may. Screenshots in
// <build>/screenshots.
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { answers, buildDir, creel, freePort, main, nodeDir, run, scratch, sourceDir, startDaemon, stop, until, writeConfig }
  from '../lib.mjs';

const require = createRequire(path.join(nodeDir, 'package.json'));
const { chromium } = require('playwright-core');

const shots = path.join(buildDir, 'screenshots');
const chrome = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) => fs.existsSync(file));
const faults = [];

const text = (dir, port) => `
device: {id: edge, clock: trusted}
cameras:
  dock: {source: "demo:", fps: 10, seed: 3}
  gate: {source: "rtsp://127.0.0.1:9/none", fps: 2}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store:
  dir: ${dir}/store
  quota: 512MiB
  min_free: 1MiB
  tiers: {annotated: {max_age: 30d, keep_after_upload: 60m}, unannotated: {max_age: 1h}}
sync:
  remotes:
    first: {type: directory, path: ${dir}/first}
    second: {type: directory, path: ${dir}/second}
web: {listen: "127.0.0.1:${port}"}
ingest: {listen: off}
`;

const files = (dir) => fs.readdirSync(dir, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.jpg$/.test(entry.name))
  .map((entry) => path.relative(dir, path.join(entry.parentPath ?? entry.path, entry.name)));

async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, colorScheme: 'light', locale: 'en-GB', ...options });
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`script: ${error}`));
  await page.goto(url);
  return page;
}

const shot = (page, name) => page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
const rows = (page) => page.locator('table.aside tbody tr');

await main(async () => {
  assert.ok(chrome, 'no chromium: apt-get install chromium');
  const dir = scratch('status');
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  fs.mkdirSync(shots, { recursive: true });
  for (const name of ['first', 'second']) fs.mkdirSync(path.join(dir, name));
  const config = writeConfig(dir, text(dir, port));
  const api = async (query = '') => (await fetch(`${base}/api/v1/quarantine${query}`)).json();
  const post = (where, fields) => fetch(`${base}${where}`, { method: 'POST', body: new URLSearchParams(fields), redirect: 'manual' });
  const second = async () => (await (await fetch(`${base}/api/v1/status`)).json()).sync.find((one) => one.name === 'second');

  const daemon = await startDaemon(config, answers(`${base}/readyz`));
  assert.strictEqual(run('sync', 'pause', 'second', '--config', config).status, 0);
  const names = await until('some frames', () => {
    const found = files(path.join(dir, 'first'));
    return found.length >= 12 && found;
  });
  const planted = names.filter((name) => !fs.existsSync(path.join(dir, 'second', name))).slice(0, 8);
  for (const name of planted) {
    fs.mkdirSync(path.dirname(path.join(dir, 'second', name)), { recursive: true });
    fs.writeFileSync(path.join(dir, 'second', name), 'something else');
  }
  const browser = await chromium.launch({ executablePath: chrome, args: ['--headless', '--no-sandbox', '--disable-quic'] });
  try {
    const page = await open(browser, `${base}/status`);
    await page.waitForSelector('.remote:has-text("second") .alarm:has-text("Paused")');
    const backlog = await page.locator('.remote', { hasText: 'second' }).innerText();
    assert.match(backlog, /Waiting\s+[1-9]/);
    assert.match(backlog, /Bytes waiting\s+[\d.]+ [KM]iB/);
    assert.match(backlog, /Oldest waits for\s+\d+ s/);
    assert.match(await page.locator('#expiry').innerText(), /Annotated\s+after 30 d, once uploaded, after 1 h/);
    assert.strictEqual(run('sync', 'resume', '--config', config).status, 0);
    await until('the quarantine', async () => (await second()).quarantined === planted.length);

    // listed with the reason; a press of Retry sends it again
    await page.reload();
    for (const [section, text] of [['Inference', /Frames a second\s+\d/], ['Workers', /creel-worker-cpu/], ['Model', /Name\s+demo/],
      ['Storage', /Kept free\s+1\.0 MiB/], ['Cameras', /gate\s[^]*Connection refused/]]) {
      assert.match(await page.locator('.panel', { has: page.locator(`h2:text-is("${section}")`) }).innerText(), text, section);
    }
    assert.strictEqual(await rows(page).count(), 5, 'the first few');
    assert.match(await rows(page).first().locator('.reason').innerText(), /other bytes/);
    await shot(page, 'status-light');
    await page.click('text=All that was set aside');
    assert.strictEqual(await rows(page).count(), planted.length);
    const listed = await api();
    assert.deepStrictEqual([listed.rows.length, listed.more], [planted.length, false]);
    const first = listed.rows[0];
    fs.rmSync(path.join(dir, 'second', planted.find((name) => name.includes(first.sha256))));
    await page.click(`tr:has(a[href="/frames/${first.frame}"]) button[value=retry]`);
    await until('the upload that was tried again', async () => (await second()).quarantined === planted.length - 1);

    // without script: dropping is asked twice
    const plain = await open(browser, `${base}/quarantine`, { javaScriptEnabled: false });
    const drop = listed.rows[1];
    await plain.click(`tr:has(a[href="/frames/${drop.frame}"]) button[value=drop]`);
    assert.strictEqual(await plain.locator('h1').innerText(), 'Drop 1 upload?');
    assert.strictEqual((await second()).quarantined, planted.length - 1, 'nothing has happened yet');
    await plain.click('button[name=force]');
    assert.strictEqual(new URL(plain.url()).pathname, '/quarantine');
    assert.strictEqual(await plain.locator(`a[href="/frames/${drop.frame}"]`).count(), 0);
    await plain.context().close();

    // for machines; and what is wrong is said
    const act = (fields) => post('/api/v1/quarantine', fields);
    const dropped = { act: 'drop', remote: 'second', frame: listed.rows[2].frame };
    assert.strictEqual((await act(dropped)).status, 409, 'only with force');
    assert.deepStrictEqual(await (await act({ ...dropped, force: 'yes' })).json(), { dry_run: false, found: 1, dropped: 1, more: false });
    assert.strictEqual((await api()).rows.length, planted.length - 3);
    assert.strictEqual((await api('?remote=first')).rows.length, 0);
    for (const [fields, status] of [[{ act: 'burn', remote: 'second' }, 400], [{ act: 'retry' }, 400],
      [{ act: 'retry', remote: 'nobody' }, 400], [{ act: 'retry', remote: 'second', frame: '0'.repeat(32) }, 404]]) {
      const answer = await act(fields);
      assert.strictEqual(answer.status, status, JSON.stringify(fields));
      assert.match(answer.headers.get('content-type'), /problem\+json/);
    }
    assert.strictEqual((await fetch(`${base}/api/v1/quarantine?after=x`)).status, 400);
    assert.strictEqual((await fetch(`${base}/api/v1/quarantine?remote=nobody`)).status, 404);

    // who may only look has no buttons, and an order of theirs is refused
    const made = spawnSync(creel, ['user', 'add', 'ada', '--role', 'admin', '--config', config], { input: 'correct horse\n', encoding: 'utf8' });
    assert.strictEqual(made.status, 0, made.stderr);
    const token = run('token', 'add', 'reader', '--scope', 'read', '--config', config).stdout.toString().trim();
    const headers = { Authorization: `Bearer ${token}` };
    const seen = await (await fetch(`${base}/quarantine`, { headers })).text();
    assert.match(seen, /other bytes/);
    assert.doesNotMatch(seen, /<button/);
    const refused = await fetch(`${base}/api/v1/quarantine`,
      { method: 'POST', headers, body: new URLSearchParams({ act: 'retry', remote: 'second' }) });
    assert.strictEqual(refused.status, 403);
    assert.strictEqual((await fetch(`${base}/quarantine`)).status, 401);

    // who may change things does, with the session's token in the form
    const admin = await open(browser, `${base}/login`);
    await admin.fill('input[name=user]', 'ada');
    await admin.fill('input[name=password]', 'correct horse');
    await admin.press('input[name=password]', 'Enter');
    await admin.waitForURL((url) => url.pathname !== '/login');
    await admin.goto(`${base}/quarantine`);
    await admin.click('div.decide button[value=drop]');
    await admin.click('button[name=force]');
    assert.match(await admin.locator('main').innerText(), /Nothing is set aside/);
    assert.deepStrictEqual(faults, []);
    assert.strictEqual(await stop(daemon), 0);
  } finally {
    await browser.close();
  }
});
