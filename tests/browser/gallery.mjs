// The gallery in a real browser, against the real daemon with the model it comes with, the demo cameras and Azurite:
// first visit, filters, endless scrolling, a frame and its boxes, links that work, no error in the console, nothing that the
// Content-Security-Policy had to stop, nothing fetched from elsewhere. Leaves screenshots in <build>/screenshots.
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import {
  account, accountKey, answers, buildDir, curlScore, freePort, main, nodeDir, photos, scratch, sha256, sourceDir,
  startAzurite, startDaemon, stop, until, writeConfig,
} from '../lib.mjs';

const require = createRequire(path.join(nodeDir, 'package.json'));
const { chromium } = require('playwright-core');
const Ajv = require('ajv/dist/2020').default;

const PER_PAGE = 60;
const FRAMES = 90; // more than a page
const shots = path.join(buildDir, 'screenshots');
const chrome = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) => fs.existsSync(file));

// ---- the daemon ----

function config(dir, { webPort, ingestPort, azuritePort }, cameras) {
  const file = writeConfig(dir, `
version: 1
device: {id: test-device, clock: trusted}
${cameras ? 'cameras: {dock: {source: "demo:", fps: 12, seed: 3}, gate: {source: "demo:", fps: 12, seed: 11}}' : ''}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
triage: {budget: {per: ${cameras ? '400ms' : 'off'}, day: off}, empty_fraction: ${cameras ? 0.05 : 1.0}}
store: {dir: ${dir}/store, quota: 2GiB, min_free: off}
web: {listen: "127.0.0.1:${webPort}"}
ingest: {listen: "127.0.0.1:${ingestPort}"}
${cameras ? `sync:
  remotes:
    cloud:
      type: azure
      required: true
      create_containers: true
      connection_string: "DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${accountKey};BlobEndpoint=http://127.0.0.1:${azuritePort}/${account};"` : ''}
`);
  fs.chmodSync(file, 0o600); // it holds a key
  return file;
}

function frameValidator() {
  const schema = JSON.parse(fs.readFileSync(path.join(sourceDir, 'schemas/frame.schema.json'), 'utf8'));
  return new Ajv({ allErrors: true, strict: false }).compile(schema);
}

// ---- the browser ----

const faults = [];

async function open(browser, base, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1360, height: 860 }, colorScheme: 'light', timezoneId: 'Europe/Berlin', locale: 'en-GB',
    permissions: ['clipboard-read', 'clipboard-write'], ...options,
  });
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`script: ${error}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !url.startsWith('data:')) faults.push(`fetched from elsewhere: ${url}`);
  });
  if (options.javaScriptEnabled !== false) {
    await page.addInitScript(() => {
      window.seen = { violations: [], shift: 0 };
      document.addEventListener('securitypolicyviolation', (event) => window.seen.violations.push(event.violatedDirective));
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.seen.shift += entry.value;
      }).observe({ type: 'layout-shift', buffered: true });
    });
  }
  return page;
}

async function settle(page) {
  const seen = await page.evaluate(() => window.seen);
  assert.deepStrictEqual(seen.violations, [], 'the Content-Security-Policy was violated');
  assert.ok(seen.shift < 0.01, `the layout shifted by ${seen.shift} at ${page.url()}`);
  return seen;
}

async function shoot(page, name) {
  await page.waitForLoadState('networkidle');
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wide <= 0, `${name}: the page is ${wide} pixels wider than the screen`);
  await page.screenshot({ path: path.join(shots, `${name}.png`) });
}

const cards = (page) => page.locator('#grid .card');
const ids = (page) => page.$$eval('#grid .card a', (links) => links.map((link) => link.pathname));

// ---- what a visitor does ----

async function firstVisit(browser, base, ports, dir) {
  const page = await open(browser, base);
  await page.goto(`${base}/`);
  assert.match(await page.locator('.notice').innerText(), /No frame has been kept yet/);
  assert.match(await page.locator('.notice').innerText(), new RegExp(`127\\.0\\.0\\.1:${ports.ingestPort}/score`));
  await shoot(page, 'empty');

  // Do what it says, and there is a frame; no remote has it, so its link is creel's own.
  fs.mkdirSync(path.join(dir, 'photo'));
  const [photo] = photos(path.join(dir, 'photo'), 1);
  const reply = await curlScore(ports.ingestPort, photo, '?wait=stored');
  const id = reply.headers.get('creel-frame');
  assert.ok(id, `nothing was stored: ${reply.status} ${reply.body}`);
  await until('the frame in the gallery', async () => {
    await page.goto(`${base}/`);
    return await cards(page).count() === 1;
  });
  await cards(page).first().click();
  assert.ok(page.url().includes(id));
  const link = await copyLink(page);
  assert.match(link.said, /this device's link/);
  assert.ok(link.url.startsWith(`${base}/blob/`));
  const bytes = Buffer.from(await (await fetch(link.url)).arrayBuffer());
  assert.strictEqual(sha256(bytes), sha256(fs.readFileSync(photo)), 'the link gives other bytes than came in');
  const forged = await fetch(link.url.replace(/s=./, 's=!'));
  assert.strictEqual(forged.status, 403);
  await settle(page);
  await page.context().close();
}

async function copyLink(page) {
  await page.click('#copy-link');
  await page.waitForFunction(() => /link/.test(document.querySelector('#link-said').textContent));
  return {
    said: await page.locator('#link-said').innerText(),
    url: await page.evaluate(() => navigator.clipboard.readText()),
  };
}

async function gallery(browser, base) {
  const page = await open(browser, base);
  const sizes = [];
  page.on('response', (answer) => { if (!/thumb/.test(answer.url())) sizes.push(answer.body().then((body) => body.length, () => 0)); });
  await page.goto(`${base}/`, { waitUntil: 'networkidle' });
  const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  console.log(`first view: ${(bytes / 1000).toFixed(0)} kB without the thumbnails`);
  assert.ok(bytes < 150e3, `the first view has ${bytes} bytes`);
  assert.strictEqual(await cards(page).count() >= PER_PAGE, true);
  const broken = await page.$$eval('#grid img', (images) => images.slice(0, 12).filter((image) => !image.complete || !image.naturalWidth).length);
  assert.ok(broken <= 12);
  await page.waitForFunction(() => [...document.querySelectorAll('#grid img')].slice(0, 10).every((image) => image.naturalWidth > 0));
  assert.ok(await page.locator('#grid .box').count() > 0, 'no boxes in the grid');
  const time = page.locator('#grid time').first();
  assert.doesNotMatch(await time.innerText(), /UTC/);
  assert.match(await time.getAttribute('datetime'), /Z$/);
  const hours = page.locator('#hours a');
  await hours.first().waitFor();
  assert.match(await hours.last().getAttribute('aria-label'), /: \d+ frames?$/);
  await shoot(page, 'gallery-light');

  // Boxes off, and remembered.
  await page.click('#toggle-boxes');
  assert.strictEqual(await page.locator('#grid .boxes').first().isVisible(), false);
  await page.reload();
  assert.strictEqual(await page.locator('#toggle-boxes').getAttribute('aria-pressed'), 'false');
  await page.click('#toggle-boxes');

  // Scrolling brings the rest, each frame once.
  await until('more cards', async () => {
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    return await cards(page).count() > PER_PAGE;
  });
  const all = await ids(page);
  assert.strictEqual(new Set(all).size, all.length, 'a frame is there twice');
  await settle(page);
  await filters(page, base);
  await page.context().close();
}

async function filters(page, base) {
  await page.goto(`${base}/`);
  await page.click('.tabs a:has-text("Unannotated")');
  await page.waitForURL(/tier=unannotated/);
  assert.strictEqual(await page.locator('#grid .tier-annotated').count(), 0);
  assert.ok(await page.locator('#grid .tier-unannotated').count() > 0);
  await page.selectOption('select[name=camera]', 'gate');
  await page.waitForURL(/camera=gate/);
  assert.match(page.url(), /tier=unannotated/);
  const cameras = await page.$$eval('#grid .camera', (all) => [...new Set(all.map((one) => one.textContent))]);
  assert.deepStrictEqual(cameras, ['gate']);
  const label = await page.$eval('select[name=class] option:nth-child(2)', (option) => option.value);
  await page.goto(`${base}/`);
  await page.selectOption('select[name=class]', label);
  await page.waitForURL(new RegExp(`class=${label}`));
  await page.selectOption('select[name=min]', '0.8');
  await page.waitForURL(/min=0\.8/);
  const { frames } = await (await fetch(`${base}/api/v1/frames?limit=500&class=${label}&min=0.8`)).json();
  assert.ok(frames.every((frame) => frame.detections.some((found) => found.class === label && found.confidence >= 0.8)));
  await page.fill('input[name=until]', '2001-01-01T00:00');
  await page.locator('input[name=until]').dispatchEvent('change');
  await page.waitForURL(/until=2000-12-31T23%3A00/); // the viewer is in Berlin
  assert.match(await page.locator('.notice').innerText(), /No frame matches/);
  await page.goBack();
  await page.waitForURL((url) => !url.search.includes('until'));
  await settle(page);
}

async function frame(browser, base) {
  const page = await open(browser, base);
  const { frames } = await (await fetch(`${base}/api/v1/frames?limit=500&sync=done`)).json();
  const best = frames.reduce((one, other) => (other.detections.length > one.detections.length ? other : one));
  const whole = await (await fetch(`${base}/api/v1/frames/${best.id}`)).json();
  await page.goto(`${base}/frames/${best.id}`);
  await page.waitForFunction(() => document.querySelector('#picture').naturalWidth > 0);
  assert.strictEqual(await page.$eval('#picture', (image) => image.naturalWidth), whole.width);
  const boxes = () => page.$$eval('#boxes .box', (all) => all.filter((box) => box.getAttribute('display') !== 'none').length);
  const slide = (value) => page.$eval('#threshold', (slider, to) => {
    slider.value = to;
    slider.dispatchEvent(new Event('input'));
  }, value);
  for (const threshold of [0, 0.25, 0.6, 1]) {
    await slide(threshold);
    const expected = whole.detections.filter((found) => found.confidence >= threshold).length;
    assert.strictEqual(await boxes(), expected, `boxes from ${threshold}`);
  }
  await slide(0.25);
  await page.hover('#detections tbody tr');
  assert.strictEqual(await page.locator('#boxes .box.lit').count(), 1);
  await page.keyboard.press('b');
  assert.strictEqual(await page.locator('#boxes').isVisible(), false);
  await page.keyboard.press('b');
  const middle = await page.$$eval('#boxes .box:not([display]) rect:not(.tag)', (rects) => {
    const { x, y, width, height } = rects.at(-1).getBoundingClientRect(); // on top of the others
    return [x + width / 2, y + height / 2];
  });
  await page.mouse.move(0, 0);
  await page.mouse.move(...middle);
  assert.strictEqual(await page.locator('#detections tr.lit').count(), 1, 'a box does not light its row');

  const link = await copyLink(page);
  assert.match(link.said, /Azure link/);
  const bytes = Buffer.from(await (await fetch(link.url)).arrayBuffer());
  assert.strictEqual(sha256(bytes), whole.sha256, 'the link into the cloud gives other bytes');
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('#download')]);
  assert.strictEqual(sha256(fs.readFileSync(await download.path())), whole.sha256);
  await page.mouse.move(0, 0);
  await shoot(page, 'frame-light');
  await settle(page);

  const before = page.url();
  await page.keyboard.press('ArrowRight');
  await page.waitForURL((url) => url.href !== before && url.pathname.startsWith('/frames/'));
  await page.keyboard.press('ArrowLeft');
  await page.waitForURL(before);
  await page.context().close();
}

// What a download of a data set holds, by its names.
async function exported(page, click) {
  const [download] = await Promise.all([page.waitForEvent('download'), click()]);
  const tar = spawnSync('tar', ['-tf', await download.path()]);
  assert.strictEqual(tar.status, 0, tar.stderr.toString());
  return tar.stdout.toString().trim().split('\n');
}

// Downloads of the frames that are selected, and of those that the filter picks.
async function downloads(page, base) {
  await page.keyboard.press('e');
  await page.locator('#export[open]').waitFor();
  assert.match(await page.locator('#export').innerText(), /Export 4 frames/);
  const picked = await exported(page, () => page.click('#export button[value=yes]'));
  const chosen = picked.filter((name) => name.endsWith('.jpg')).length; // one may have given way to a better one
  assert.ok(chosen > 0 && chosen <= 4 && picked.includes('annotations.json'), picked.join());
  // Frames still come, and some give way to better ones: those of a while ago can only become fewer.
  const query = `camera=dock&tier=annotated&until=${new Date(Date.now() - 5000).toISOString()}`;
  const local = async () => new Set((await (await fetch(`${base}/api/v1/frames?limit=500&${query}`)).json()).frames
    .filter((frame) => frame.place === 'local').map((frame) => frame.sha256)).size;
  const before = await local();
  await page.goto(`${base}/?${query}`);
  await page.click('#whole-export');
  await page.check('#export input[value=yolo]');
  const names = await exported(page, () => page.click('#export button[value=yes]'));
  const pictures = names.filter((name) => name.endsWith('.jpg')).length;
  assert.ok(pictures <= before && pictures >= await local() && pictures > 0, `${pictures} pictures of ${before}`);
  assert.ok(names.includes('obj.names') && names.includes('train.txt'));
}

// A link for a guest: to the frames that are selected, and to what the filter picks.
async function shares(browser, page, base) {
  await page.keyboard.press('s');
  await page.locator('#share[open]').waitFor();
  assert.match(await page.locator('#share').innerText(), /Share 2 frames/);
  await shoot(page, 'share');
  await page.click('#share button[value=yes]');
  assert.ok(await page.locator('#share[open]').isVisible(), 'a share without a title');
  await page.fill('#share-name', 'Two of the dock');
  await page.selectOption('#share-ttl', '86400');
  await page.click('#share button[value=yes]');
  await page.waitForFunction(() => /Copied: open until/.test(document.querySelector('#share-said').textContent));
  const url = await page.evaluate(() => navigator.clipboard.readText());
  const guest = await open(browser, base);
  await guest.goto(url);
  assert.match(await guest.locator('h1').innerText(), /Two of the dock/);
  assert.strictEqual(await guest.locator('.grid .card').count(), 2);
  await guest.context().close();
  await page.click('#share button[value=no]');
  await page.click('#bulk-none');
  await page.click('#whole-share');
  await page.fill('#share-name', 'The dock');
  await page.keyboard.press('Enter');
  await page.locator('#share-said a').click();
  await page.waitForURL(/shares/);
  const rows = await page.locator('tbody tr').allInnerTexts();
  assert.match(rows.find((row) => /Two of/.test(row)), /2 chosen frames[^]*\b1\b/);
  assert.match(rows.find((row) => /^The dock/.test(row)), /camera=dock/);
}

// Two frames leave this device and the cloud; a third, which is pinned, stays and is named.
async function everywhere(page, base) {
  const frame = async (id) => (await fetch(`${base}/api/v1/frames/${id}`)).json();
  await page.goto(`${base}/?sync=done&camera=gate`);
  const chosen = [];
  const links = [];
  for (let i = 0; i < 3; i++) {
    chosen.push(await cards(page).nth(i).getAttribute('data-frame'));
    links.push(await (await fetch(`${base}/api/v1/frames/${chosen[i]}/link`, { method: 'POST' })).json());
    assert.strictEqual((await fetch(links[i].url)).status, 200);
  }
  const pin = { act: 'pin', frames: [chosen[1]] };
  await fetch(`${base}/api/v1/actions`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(pin) });
  for (let i = 0; i < 3; i++) { await cards(page).nth(i).locator('.pick input').check(); }
  await page.keyboard.press('Delete');
  await page.locator('#ask[open]').waitFor();
  await page.check('#ask input[value=everywhere]');
  await shoot(page, 'delete');
  await page.click('#ask button[value=yes]');
  await page.waitForFunction(() => /1 frame left: .*pinned/.test(document.querySelector('#bulk-count').textContent));
  assert.strictEqual(await page.locator('#bulk-count').innerText().then((text) => /pinned/.test(text)), true);
  assert.deepStrictEqual(await Promise.all(links.map(async (link) => (await fetch(link.url)).status)), [404, 200, 404]);
  assert.notStrictEqual((await frame(chosen[0])).place, 'local');
  assert.notStrictEqual((await frame(chosen[1])).sync.state, 'none');
}

// Many at once: by mouse, by keyboard, and with a question before anything is deleted.
async function bulk(browser, base) {
  const page = await open(browser, base);
  const count = async (query) => (await (await fetch(`${base}/api/v1/frames?limit=500&${query}`)).json()).frames.length;
  await page.goto(`${base}/?camera=dock`);
  assert.strictEqual(await page.locator('#bulk').isVisible(), false);
  await cards(page).nth(0).locator('.pick input').check();
  await cards(page).nth(3).locator('.pick input').click({ modifiers: ['Shift'] });
  assert.strictEqual(await page.locator('#bulk-count').innerText(), '4 frames selected');
  await shoot(page, 'gallery-selected');
  await downloads(page, base);
  await page.goto(`${base}/?camera=dock`);
  await cards(page).nth(0).locator('.pick input').check();
  await cards(page).nth(3).locator('.pick input').click({ modifiers: ['Shift'] });
  await page.click('#bulk [data-act=pin]');
  await page.waitForFunction(() => document.querySelector('#bulk').hidden);
  assert.strictEqual(await page.locator('#grid .said-pinned').count(), 4);
  await until('four pinned frames', async () => await count('pinned=yes') === 4);

  // By keyboard: the arrows walk, x picks, l marks for labeling, r as wrong.
  await page.keyboard.press('ArrowRight');
  await cards(page).nth(5).locator('a').focus();
  await page.keyboard.press('x');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('x');
  assert.strictEqual(await page.locator('#bulk-count').innerText(), '2 frames selected');
  await page.keyboard.press('l');
  await until('two frames to be labeled', async () => await count('label=wanted') === 2);
  await page.waitForFunction(() => document.querySelector('#bulk').hidden);
  await page.goto(`${base}/?label=wanted`);
  assert.strictEqual(await cards(page).count(), 2);
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('x');
  await page.keyboard.press('r');
  await until('one frame judged wrong', async () => await count('label=rejected') === 1);

  await page.goto(`${base}/?camera=dock`);
  await cards(page).nth(1).locator('.pick input').check();
  await cards(page).nth(2).locator('.pick input').check();
  await shares(browser, page, base);

  // Deleting asks, keeps on "Keep", and what is pinned needs a second word.
  await page.goto(`${base}/?pinned=yes`);
  const pinned = (await (await fetch(`${base}/api/v1/frames?pinned=yes`)).json()).frames;
  const { id } = pinned.find((frame) => frame.place === 'local'); // one may have given way before it was pinned
  await page.locator(`#grid .card[data-frame="${id}"] .pick input`).check();
  const place = async () => (await (await fetch(`${base}/api/v1/frames/${id}`)).json()).place;
  await page.click('#bulk [data-act=remove]');
  await page.locator('#ask[open]').waitFor();
  assert.match(await page.locator('#ask').innerText(), /1 frame will lose[^]*1 pinned/);
  await page.click('#ask button[value=no]');
  assert.strictEqual(await place(), 'local');
  await page.click('#bulk [data-act=remove]');
  await page.locator('#ask[open]').waitFor();
  await page.click('#ask button[value=yes]');
  await page.waitForFunction(() => /pinned/.test(document.querySelector('#bulk-count').textContent));
  assert.strictEqual(await place(), 'local');
  faults.splice(faults.findIndex((fault) => /409/.test(fault)), 1); // the refusal that was asked for
  await page.click('#bulk [data-act=remove]');
  await page.locator('#ask[open]').waitFor();
  await page.check('#ask-force input');
  await page.click('#ask button[value=yes]');
  await until('the picture has left', async () => await place() !== 'local');
  await everywhere(page, base);
  await settle(page);
  await page.goto(`${base}/frames/${id}`);
  assert.match(await page.locator('.stage').innerText(), /has left this device/);
  assert.match(await page.locator('#life').innerText(), /captured[^]*kept[^]*pinned[^]*evicted/);
  await page.context().close();
}

// Ten frames judged by keyboard, each shown at once when the one before is said; all of it is in the store.
async function judgement(browser, base) {
  const page = await open(browser, base);
  const judged = async (state) => (await (await fetch(`${base}/api/v1/frames?limit=500&label=${state}`)).json()).frames.map((frame) => frame.id);
  await page.goto(`${base}/?camera=gate&label=none`);
  await cards(page).first().click();
  const now = () => page.$eval('.frame', (frame) => frame.dataset.frame);
  const seen = [];
  const begun = Date.now();
  for (const key of ['a', 'r', 'a', 'a', 'l', 'r', 'a', 'a']) {
    const id = await now();
    seen.push([id, { a: 'accepted', r: 'rejected', l: 'wanted' }[key]]);
    await page.keyboard.press(key);
    await page.waitForFunction((before) => document.querySelector('.frame').dataset.frame !== before, id);
  }
  const each = (Date.now() - begun) / seen.length;
  assert.ok(each < 1000, `a judgement took ${each} ms`);
  // A class by its number, then by mouse.
  for (const act of ['wrong-class', 'missed']) {
    const id = await now();
    seen.push([id, act]);
    if (act === 'missed') { await page.click('#judge [data-act=missed]'); } else { await page.keyboard.press('w'); }
    await page.waitForFunction(() => document.activeElement.id === 'choice-class');
    await page.keyboard.press('1');
    await page.waitForFunction((before) => document.querySelector('.frame').dataset.frame !== before, id);
  }
  for (const [id, state] of seen) {
    await until(`${id} as ${state}`, async () => (await judged(state)).includes(id));
  }
  // Staying, pinning and taking back.
  await page.uncheck('#judge-on');
  const id = await now();
  await page.keyboard.press('a');
  await page.waitForFunction(() => /Saved: right/.test(document.querySelector('#judge-said').textContent));
  assert.strictEqual(await page.locator('#judge [data-act=accepted]').getAttribute('aria-pressed'), 'true');
  await shoot(page, 'judgement');
  await page.keyboard.press('u');
  await page.waitForFunction(() => /taken back/.test(document.querySelector('#judge-said').textContent));
  assert.ok(!(await judged('accepted')).includes(id));
  // What does not reach the store is said.
  await page.route('**/api/v1/actions', (route) => route.abort());
  await page.keyboard.press('r');
  await page.waitForFunction(() => /Not saved/.test(document.querySelector('#judge-said').textContent));
  faults.splice(faults.findIndex((fault) => /ERR_FAILED/.test(fault)), 1);
  assert.ok(await page.locator('.strip a[aria-current]').count() === 1);
  await settle(page);
  await page.context().close();
}

async function withoutScript(browser, base) {
  const page = await open(browser, base, { javaScriptEnabled: false });
  await page.goto(`${base}/`);
  const first = await page.locator('#grid .card a').first().getAttribute('href');
  await page.selectOption('select[name=camera]', 'dock');
  await page.click('form.filters button[type=submit]');
  assert.match(page.url(), /camera=dock/);
  await page.goto(`${base}/`);
  await page.click('.more a');
  assert.match(page.url(), /after=/);
  assert.ok(await page.locator('#grid .card').count() > 0);
  await page.goto(base + first);
  assert.ok(await page.locator('#picture').isVisible());
  await page.context().close();
}

async function api(base) {
  const validate = frameValidator();
  const seen = new Set();
  let next = '';
  do {
    const page = await (await fetch(`${base}/api/v1/frames?limit=37${next && `&after=${next}`}`)).json();
    for (const one of page.frames) {
      assert.ok(validate(one), `${JSON.stringify(one)}: ${JSON.stringify(validate.errors)}`);
      seen.add(one.id);
    }
    next = page.next;
  } while (next && seen.size < 2000);
  assert.ok(seen.size >= FRAMES);
  const metrics = await (await fetch(`${base}/metrics`)).text();
  const families = [...metrics.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  assert.strictEqual(new Set(families).size, families.length, 'a metric family is there twice');
  assert.ok(families.every((name) => name.startsWith('creel_')));
  assert.strictEqual((await fetch(`${base}/readyz`)).status, 200);
}

await main(async () => {
  assert.ok(chrome, 'no chromium: apt-get install chromium');
  const dir = scratch('gallery');
  const ports = { webPort: await freePort(), ingestPort: await freePort(), azuritePort: await freePort() };
  const base = `http://127.0.0.1:${ports.webPort}`;
  fs.mkdirSync(shots, { recursive: true });
  fs.mkdirSync(path.join(dir, 'azurite'));
  await startAzurite(path.join(dir, 'azurite'), ports.azuritePort);
  const browser = await chromium.launch({
    executablePath: chrome,
    args: ['--headless', '--no-sandbox', '--disable-quic', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  try {
    let daemon = await startDaemon(config(dir, ports, false), answers(`${base}/readyz`));
    await firstVisit(browser, base, ports, dir);
    assert.strictEqual(await stop(daemon), 0);

    daemon = await startDaemon(config(dir, ports, true), answers(`${base}/readyz`));
    await until(`${FRAMES} frames of both tiers, some in Azurite`, async () => {
      const count = async (query) => (await (await fetch(`${base}/api/v1/frames?limit=500&${query}`)).json()).frames.length;
      return await count('tier=annotated') >= 20 && await count('tier=unannotated') >= 20 && await count('') >= FRAMES &&
        await count('sync=done') >= 30;
    }, 180000);
    await gallery(browser, base);
    await frame(browser, base);
    await bulk(browser, base);
    await judgement(browser, base);
    await withoutScript(browser, base);
    await api(base);
    assert.deepStrictEqual(faults, []);
    assert.strictEqual(await stop(daemon), 0);
  } finally {
    await browser.close();
  }
});
