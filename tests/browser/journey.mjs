// People come from elsewhere: over TLS, with a login, to a daemon with a real model, its frames in Azurite. An admin judges,
// shares and hands out links, a viewer looks, a guest opens a share without a login. Frames leave the device, others are
// set aside; somebody has only a keyboard, somebody lives in another zone. What one person alone does in the gallery is
// in gallery.mjs, the live view's own in live.mjs, looks and accessibility in looks.mjs.
import assert from 'node:assert';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {
  account, accountKey, controlAnswers, creel, curlScore, freePort, main, modelDir, photos, run, runJson, scratch, sha256,
  startAzurite, startDaemon, stop, until, writeConfig,
} from '../lib.mjs';
import { faults, forgive, launch, openPage } from './lib.mjs';

const passwords = { anna: 'correct horse', bo: 'battery staple' };
const QUARTER_S = 900;
const PHOTOS = 22;

// Everything that the steps share; filled by the main function.
const here = {};
const status = () => runJson('status', '--json', '--config', here.config);
const link = (id) => `${here.base}/frames/${id}`;

// The cameras watch folders where photos arrive; the demo model knows only what the demo camera shows.
function scene(dir) {
  const model = modelDir(dir);
  const real = model.startsWith(dir);
  console.log(real ? 'model: yolo-fastest on photos' : 'model: the demo model, since there is no other one');
  const source = (name, seed) => (real ? `{source: "directory:${path.join(dir, name)}"}` : `{source: "demo:", fps: 2, seed: ${seed}}`);
  return {
    model, real, alerts: real ? '[dog, person, horse]' : '[person, car, truck, forklift, parcel]',
    cameras: `{dock: ${source('dock', 3)}, gate: ${source('gate', 11)}}`,
  };
}

function certificate(dir) {
  const [cert, key] = [path.join(dir, 'cert.pem'), path.join(dir, 'key.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert], { stdio: 'pipe' });
  return `{certificate: ${cert}, key: ${key}}`;
}

const configText = ({ model, cameras, alerts }, { dir, ports }) => `
device: {id: journey, clock: trusted}
cameras: ${cameras}
model: {dir: ${model}}
triage: {confident: 0.5, budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off, tiers: {annotated: {keep_after_upload: 1s}, unannotated: {keep_after_upload: forever}}}
web: {listen: "127.0.0.1:${ports.web}", tls: ${certificate(dir)}, alerts: ${alerts}}
ingest: {listen: "127.0.0.1:${ports.ingest}"}
sync:
  manifests: {age: 1h}
  remotes:
    cloud:
      type: azure
      required: true
      create_containers: true
      connection_string: "DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${accountKey};BlobEndpoint=http://127.0.0.1:${ports.azurite}/${account};"
    nas: {type: directory, path: ${dir}/nas}
`;

const open = (options = {}) => openPage(here.browser, here.base, { ignoreHTTPSErrors: true, elsewhere: [here.cloud], ...options });

const get = async (page, where) => (await page.request.get(here.base + where)).json();

async function logIn(page, user, password = passwords[user]) {
  await page.fill('#user', user);
  await page.fill('#password', password);
  await page.keyboard.press('Enter');
}

async function entered(user, options = {}) {
  const page = await open(options);
  await page.goto(`${here.base}/login`);
  await logIn(page, user);
  await page.waitForURL(`${here.base}/`);
  return page;
}

// Pushes a photo; its id, once it is durable.
async function push(photo) {
  const reply = await curlScore(here.ports.ingest, photo, '?wait=stored&stream=phone');
  assert.strictEqual(reply.status, 200, reply.body);
  return reply.headers.get('creel-frame');
}

// ---- who may ----

async function strangersLogIn() {
  const page = await open();
  await page.goto(`${here.base}/status`);
  assert.match(page.url(), /\/login\?to=%2Fstatus|\/login\?to=\/status/);
  await logIn(page, 'bo', 'not his password');
  assert.match(await page.locator('[role=alert]').innerText(), /not a user's password/);
  forgive(/403/);
  await logIn(page, 'bo');
  await page.waitForURL(`${here.base}/status`);
  const cookies = new Map((await page.context().cookies()).map((cookie) => [cookie.name, cookie]));
  const { httpOnly, secure, sameSite, path: where } = cookies.get('__Host-creel');
  assert.deepStrictEqual({ httpOnly, secure, sameSite, where }, { httpOnly: true, secure: true, sameSite: 'Lax', where: '/' });
  assert.deepStrictEqual([cookies.get('creel-csrf').secure, cookies.get('creel-csrf').sameSite], [true, 'Strict']);
  assert.ok(!(await page.evaluate(() => document.cookie)).includes('__Host-creel'), 'a script can read the session');
  return page;
}

// A viewer looks, and meets nothing that would be refused.
async function viewerLooks(page) {
  const { frames } = await get(page, '/api/v1/frames');
  await page.goto(link(frames[0].id));
  assert.ok(await page.locator('#picture').isVisible());
  assert.ok(await page.locator('#copy-link').isVisible(), 'a link is for whoever may look');
  assert.strictEqual(await page.locator('#judge').count(), 0);
  await page.keyboard.press('a');
  await page.goto(`${here.base}/shares`);
  assert.strictEqual(await page.locator('main button').count(), 0);
  await page.goto(`${here.base}/`);
  await page.locator('#grid .pick input').first().check();
  assert.deepStrictEqual(await page.$$eval('#bulk [data-act]', (buttons) => buttons.map((button) => button.dataset.act)), ['export']);
  assert.strictEqual(await page.locator('#whole-share').count(), 0);
  const refused = await page.evaluate((id) => fetch('/api/v1/actions', {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ act: 'pin', frames: [id] }),
  }).then((answer) => answer.status), frames[0].id);
  assert.strictEqual(refused, 403);
  forgive(/403/);
  assert.strictEqual((await get(page, `/api/v1/frames/${frames[0].id}`)).label_state ?? 'none', 'none');

  // Logged out, the session is over, whoever kept its cookie.
  const kept = await page.context().cookies();
  await page.click('nav a:has-text("Account")');
  assert.match(await page.locator('main').innerText(), /logged in as bo, who may look/);
  await page.click('button:has-text("Log out")');
  await page.locator('#password').waitFor();
  await page.context().addCookies(kept);
  await page.goto(`${here.base}/`);
  assert.match(page.url(), /\/login/);
  await page.context().close();
}

// The cookie alone, which a browser sends by itself, changes nothing.
async function csrf(page, id) {
  const send = (headers) => page.evaluate(([frame, extra]) => new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open('POST', '/api/v1/actions');
    for (const [name, value] of Object.entries({ 'Content-Type': 'application/json', ...extra })) request.setRequestHeader(name, value);
    request.onloadend = () => done(request.status);
    request.send(JSON.stringify({ act: 'pin', frames: [frame] }));
  }), [id, headers]);
  assert.strictEqual(await send({}), 403);
  forgive(/403/);
  assert.strictEqual(await send({ 'X-Creel-CSRF': 'forged' }), 403);
  forgive(/403/);
  const cookie = (await page.context().cookies()).find(({ name }) => name === 'creel-csrf');
  assert.strictEqual(await send({ 'X-Creel-CSRF': cookie.value }), 200);
}

async function triesAreBraked() {
  const page = await open();
  await page.goto(`${here.base}/login`);
  for (let tries = 0; ; tries += 1) {
    assert.ok(tries < 40, 'nobody brakes who guesses');
    await logIn(page, 'anna', `guess ${tries}`);
    await page.locator('[role=alert]').waitFor();
    forgive(/403|429/);
    const said = await page.locator('[role=alert]').innerText();
    if (/Too many tries: wait \d+ seconds/.test(said)) break;
    await page.evaluate(() => document.querySelector('[role=alert]').remove());
  }
  await page.context().close();
}

// ---- what an admin does ----

// Said by keyboard, there for the API and for `creel why`.
async function judges(page) {
  await page.goto(`${here.base}/?label=none&order=oldest`);
  await page.locator('#grid .card a').first().click();
  const said = [];
  for (const [key, state] of [['a', 'accepted'], ['r', 'rejected'], ['l', 'wanted']]) {
    const id = await page.$eval('.frame', (frame) => frame.dataset.frame);
    said.push([id, state]);
    await page.keyboard.press(key);
    await page.waitForFunction((before) => document.querySelector('.frame').dataset.frame !== before, id);
  }
  for (const [id, state] of said) {
    await until(`${id} as ${state}`, async () => (await get(page, `/api/v1/frames?label=${state}&limit=100`)).frames.some((frame) => frame.id === id));
    const why = run('why', id, '--config', here.config);
    assert.match(why.stdout.toString(), new RegExp(state === 'wanted' ? 'label|wanted' : state), why.stdout.toString());
  }
  return said;
}

// Filters live in the address: back and forward lead through them, and the fields say what they are.
async function walksThroughFilters(page, said) {
  const field = (name) => page.locator(`.filters [name=${name}]`).inputValue();
  await page.goto(`${here.base}/`);
  await page.selectOption('select[name=label]', 'accepted');
  await page.waitForURL(/label=accepted/);
  const shown = await page.$$eval('#grid .card', (cards) => cards.map((card) => card.dataset.frame));
  assert.deepStrictEqual(shown, said.filter(([, state]) => state === 'accepted').map(([id]) => id));
  await page.selectOption('select[name=label]', 'rejected');
  await page.waitForURL(/label=rejected/);
  await page.goBack();
  await page.waitForURL(/label=accepted/);
  assert.strictEqual(await field('label'), 'accepted');
  await page.goBack();
  await page.waitForURL(`${here.base}/`);
  assert.strictEqual(await field('label'), '');
  await page.goForward();
  await page.waitForURL(/label=accepted/);
  assert.strictEqual(await field('label'), 'accepted');
}

async function copiesLink(page, id) {
  const frame = await get(page, `/api/v1/frames/${id}`);
  await page.goto(link(id));
  await page.selectOption('#link-ttl', '3600');
  await page.click('#copy-link');
  await page.waitForFunction(() => /link/.test(document.querySelector('#link-said').textContent));
  assert.match(await page.locator('#link-said').innerText(), /Azure link, valid until/);
  const url = new URL(await page.evaluate(() => navigator.clipboard.readText()));
  assert.ok(url.href.startsWith(here.cloud), url.href);
  const left = (new Date(url.searchParams.get('se')) - Date.now()) / 1000;
  assert.ok(left > 3500 && left <= 3600, `an hour was asked for, ${left} s are left`);
  assert.strictEqual(sha256(Buffer.from(await (await fetch(url)).arrayBuffer())), frame.sha256);
}

// ---- shares ----

async function share(page, title, query) {
  await page.goto(`${here.base}/shares?${query}`);
  await page.fill('input[name=title]', title);
  await page.selectOption('select[name=ttl]', '3600');
  await page.click('button:has-text("Share")');
  await page.locator(`tr:has-text("${title}")`).waitFor();
  return page.locator(`tr:has-text("${title}") a`).getAttribute('href');
}

async function guestsLook(page, replicated, local) {
  const url = await share(page, 'For Jo', '');
  const guest = await open();
  await guest.goto(url);
  assert.match(await guest.locator('h1').innerText(), /For Jo/);
  const first = guest.locator('.card img').first();
  await guest.waitForFunction(() => document.querySelector('.card img').naturalWidth > 0);
  assert.ok(await first.isVisible());
  // In the cloud: sent there, for a quarter of an hour. Here alone: from the store.
  const token = new URL(url).pathname;
  const sent = await guest.request.get(`${here.base}${token}/image/${replicated.id}`, { maxRedirects: 0 });
  assert.strictEqual(sent.status(), 302);
  const to = new URL(sent.headers().location);
  assert.ok(to.href.startsWith(here.cloud), to.href);
  const left = (new Date(to.searchParams.get('se')) - Date.now()) / 1000;
  assert.ok(left > 0 && left <= QUARTER_S, `${left} s`);
  assert.deepStrictEqual([to.searchParams.get('sp'), to.searchParams.get('sr')], ['r', 'b']);
  const picture = await guest.request.get(`${here.base}${token}/image/${replicated.id}`);
  assert.strictEqual(sha256(await picture.body()), replicated.sha256);
  const own = await guest.request.get(`${here.base}${token}/image/${local.id}`, { maxRedirects: 0 });
  assert.deepStrictEqual([own.status(), sha256(await own.body())], [200, local.sha256]);
  // A click does the same.
  await guest.locator(`.card a[href$="${replicated.id}"]`).click();
  await guest.waitForURL((now) => now.href.startsWith(here.cloud));
  await guest.goto(`${here.base}/`);
  assert.match(guest.url(), /\/login/, 'a guest came in');

  await page.reload();
  const row = page.locator('tr:has-text("For Jo")');
  assert.match(await row.innerText(), /anna/);
  assert.strictEqual(await row.locator('td.number').innerText(), '1', 'opened once');
  await row.locator('button').click();
  await page.locator('tr:has-text("For Jo"):has-text("taken back")').waitFor();
  for (const where of [token, `${token}/image/${replicated.id}`, `${token}/image/${local.id}`]) {
    assert.strictEqual((await guest.request.get(here.base + where, { maxRedirects: 0 })).status(), 410, where);
  }
  assert.strictEqual((await guest.request.get(`${url.slice(0, -1)}${url.endsWith('A') ? 'B' : 'A'}`)).status(), 403);
  await guest.context().close();
}

// ---- what becomes of frames ----

// The annotated ones leave the device a second after Azurite has them; thumbnail and link stay.
async function framesLeave(page) {
  const gone = await until('a frame that has left the device', async () => (await get(page, '/api/v1/frames?limit=100'))
    .frames.find((frame) => frame.place === 'remote'));
  await page.goto(`${here.base}/?tier=annotated`);
  const thumb = page.locator(`.card[data-frame="${gone.id}"] img`);
  await thumb.scrollIntoViewIfNeeded();
  await page.waitForFunction((id) => document.querySelector(`.card[data-frame="${id}"] img`).naturalWidth > 0, gone.id);
  await page.goto(link(gone.id));
  assert.match(await page.locator('.stage').innerText(), /has left this device.*“Copy link” gives the one in the cloud/);
  await page.waitForFunction(() => document.querySelector('#picture').naturalWidth > 0);
  await copiesLink(page, gone.id);
  return gone;
}

// Other bytes lie under a frame's name: set aside, said on the status page.
async function quarantine(page, local) {
  const day = local.kept.slice(0, 10);
  const there = path.join(here.dir, 'nas', 'frames', `tier=${local.tier}`, 'device=journey', `date=${day}`, `${local.sha256}.jpg`);
  fs.mkdirSync(path.dirname(there), { recursive: true });
  fs.writeFileSync(there, 'something else');
  assert.strictEqual(run('sync', 'resume', '--config', here.config).status, 0);
  await until('the quarantine', () => status().sync.some((remote) => remote.quarantined === 1));
  await page.goto(`${here.base}/status`);
  await page.locator('td:has-text("other bytes")').first().waitFor();
  await page.goto(`${here.base}/?sync=quarantined`);
  assert.deepStrictEqual(await page.$$eval('#grid .card', (cards) => cards.map((card) => card.dataset.frame)), [local.id]);
}

// Two cameras, a look each as the photos come; what is an alert stands out.
async function live(page, spare) {
  await page.goto(`${here.base}/live`);
  let next = 0;
  await until('both cameras, and an alert', async () => {
    if (here.scene.real && next < spare.length) {
      fs.renameSync(spare[next], path.join(here.dir, next % 2 ? 'gate' : 'dock', path.basename(spare[next])));
      next += 1;
    }
    return await page.locator('.camera .view img').count() >= 2 && await page.locator('.camera.alarmed .chip.alert').count() > 0;
  });
  assert.match(await page.locator('.chip.alert').first().innerText(), /^Alert: /);
}

// ---- other people's eyes and hands ----

async function zones(id, captured) {
  const digits = (text) => text.replace(/\D+/g, ' ').trim();
  for (const timezoneId of ['Asia/Tokyo', 'America/New_York']) {
    const page = await entered('bo', { timezoneId });
    await page.goto(link(id));
    const time = page.locator('.when time');
    assert.match(await time.getAttribute('datetime'), /Z$/);
    const expected = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium', timeZone: timezoneId });
    assert.strictEqual(digits(await time.innerText()), digits(expected.format(new Date(captured))), timezoneId);
    await page.context().close();
  }
}

// Tab by Tab: everything that can be reached shows that it has the focus.
async function walk(page, stops, until = () => false) {
  const met = [];
  for (let stop = 0; stop < stops; stop += 1) {
    await page.keyboard.press('Tab');
    const now = await page.evaluate(() => {
      const at = document.activeElement;
      const style = getComputedStyle(at);
      const { width, height, left, right } = at.getBoundingClientRect();
      return {
        name: `${at.tagName} ${at.id || at.name || at.textContent.trim().slice(0, 30)}`, card: !!at.closest('.card'),
        body: at === document.body, shown: width > 1 && height > 1 && right > 0 && left < innerWidth && style.visibility !== 'hidden',
        ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
      };
    });
    if (now.body) break;
    assert.ok(now.shown && now.ring, `the focus is not to be seen on ${JSON.stringify(now)}`);
    met.push(now.name);
    if (until(now)) break;
  }
  return met;
}

async function keyboardOnly() {
  const page = await entered('anna', { reducedMotion: 'reduce' });
  await page.goto(`${here.base}/`);
  const met = await walk(page, 60, ({ card }) => card);
  assert.match(met[0], /Skip to the content/);
  for (const name of ['Live', 'Shares', 'Status', 'Account', 'SELECT camera', 'SELECT class', 'INPUT since', 'toggle-boxes']) {
    assert.ok(met.some((one) => one.includes(name)), `${name} is not among ${met}`);
  }
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/frames\//);
  const there = await walk(page, 40);
  for (const name of ['back', 'threshold', 'toggle-boxes', 'Right', 'Missed', 'copy-link', 'link-ttl']) {
    assert.ok(there.some((one) => one.includes(name)), `${name} is not among ${there}`);
  }
  await page.locator('#back').focus();
  await page.keyboard.press('Escape');
  await page.waitForURL(`${here.base}/`);
  // Who wants no motion gets none.
  for (const where of ['/', '/status', '/live', '/shares']) {
    await page.goto(here.base + where);
    const moving = await page.evaluate(() => [...document.querySelectorAll('*')]
      .filter((one) => getComputedStyle(one).transitionDuration.split(', ').some((time) => parseFloat(time) > 0) || one.getAnimations().length)
      .map((one) => one.className));
    assert.deepStrictEqual(moving, [], where);
  }
  await page.context().close();
}

// ---- all of it ----

async function everything(pictures) {
  const half = pictures.length / 2 - 3;
  const spare = pictures.splice(-4);
  pictures.slice(0, -2).forEach((file, at) => fs.renameSync(file, path.join(here.dir, at < half ? 'dock' : 'gate', path.basename(file))));
  const viewer = await strangersLogIn();
  await until('frames, all in Azurite', async () => (await get(viewer, '/api/v1/frames?limit=100&sync=done')).frames.length >= 12);
  await viewerLooks(viewer);

  assert.strictEqual(run('sync', 'pause', '--config', here.config).status, 0);
  const admin = await entered('anna', { permissions: ['clipboard-read', 'clipboard-write'] });
  const local = await get(admin, `/api/v1/frames/${await push(pictures.at(-1))}`);
  await csrf(admin, local.id); // and so it is pinned
  const { frames } = await get(admin, '/api/v1/frames?limit=100&sync=done');
  const said = await judges(admin);
  await walksThroughFilters(admin, said);
  await guestsLook(admin, frames[0], local);
  const gone = await framesLeave(admin);
  await quarantine(admin, local);
  await live(admin, spare);
  await zones(gone.id, gone.captured);
  await keyboardOnly();
  await triesAreBraked();
}

await main(async () => {
  const dir = scratch('journey');
  const ports = { web: await freePort(), ingest: await freePort(), azurite: await freePort() };
  for (const name of ['dock', 'gate', 'photos', 'azurite', 'nas']) fs.mkdirSync(path.join(dir, name));
  Object.assign(here, {
    dir, ports, scene: scene(dir), base: `https://localhost:${ports.web}`, cloud: `http://127.0.0.1:${ports.azurite}/${account}/`,
  });
  here.config = writeConfig(dir, configText(here.scene, here));
  const pictures = photos(path.join(dir, 'photos'), PHOTOS);
  [here.browser] = await Promise.all([launch(), startAzurite(path.join(dir, 'azurite'), ports.azurite)]);
  try {
    const daemon = await startDaemon(here.config, controlAnswers(here.config));
    for (const [user, role] of [['anna', 'admin'], ['bo', 'viewer']]) {
      const added = spawnSync(creel, ['user', 'add', user, '--role', role, '--config', here.config], { input: `${passwords[user]}\n` });
      assert.strictEqual(added.status, 0, added.stderr?.toString());
    }
    await everything(pictures);
    assert.deepStrictEqual(faults, []);
    const log = fs.readFileSync(daemon.logFile, 'utf8');
    for (const secret of [...Object.values(passwords), accountKey]) assert.ok(!log.includes(secret), 'a secret is in the log');
    assert.strictEqual(await stop(daemon), 0);
  } finally {
    await here.browser.close();
  }
});
