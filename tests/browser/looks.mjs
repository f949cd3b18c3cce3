// Every page in light and dark, on a desktop and a phone: axe-core finds no serious fault in it, nothing is wider than the
// screen. The daemon, its demo cameras and the model that comes with creel are real, the frames are in Azurite.
// CREEL_SCREENSHOTS=webui/screenshots makes the README's pictures anew, after some hours of frames.
import assert from 'node:assert';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {
  account, accountKey, answers, creel, freePort, main, run, scratch, sourceDir, startAzurite, startDaemon,
  startProgram, stop, until, writeConfig,
} from '../lib.mjs';
import { assertFits, desktop, faults, forgive, launch, lookForFaults, openPage, phone } from './lib.mjs';

const CARDS = 8; // of a page: each is like the others, and the check looks at every one
const password = 'correct horse';

const SEEDS = { dock: 3, gate: 11, yard: 29 };
const cameras = (fps, names = ['dock', 'gate']) =>
  `{${names.map((name) => `${name}: {source: "demo:", fps: ${fps}, seed: ${SEEDS[name]}}`).join(', ')}}`;

const cloud = (ports) => `
sync:
  remotes:
    cloud:
      type: azure
      required: true
      create_containers: true
      connection_string: "DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${accountKey};BlobEndpoint=http://127.0.0.1:${ports.azurite}/${account};"
`;

const configText = (dir, ports, cameras, sync = cloud(ports)) => `
device: {id: test-device, clock: trusted}
cameras: ${cameras}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
triage: {budget: {per: 400ms, day: off}, empty_fraction: 0.05}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off}
web: {listen: "127.0.0.1:${ports.web}", alerts: [forklift, truck]}
ingest: {listen: "127.0.0.1:${ports.ingest}"}
${sync}`;

// Colours alone differ between light and dark, so the rest is looked at once a width.
async function looksWell(page, name) {
  for (const [width, viewport] of Object.entries({ desktop, phone })) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme: 'light' });
    await assertFits(page, `${name}, ${width}`);
    await lookForFaults(page, `${name}, ${width}, light`);
    await page.emulateMedia({ colorScheme: 'dark' });
    await lookForFaults(page, `${name}, ${width}, dark`, ['color-contrast', 'link-in-text-block']);
  }
  await page.setViewportSize(desktop);
  await page.emulateMedia({ colorScheme: 'light' });
}

const picturesAreHere = (page) => page.waitForFunction(() => [...document.querySelectorAll('main img')]
  .every((image) => image.getBoundingClientRect().top > innerHeight || (image.complete && image.naturalWidth > 0)));

async function goTo(page, url) {
  await page.goto(url);
  await picturesAreHere(page);
}

async function emptyStore(browser, base) {
  const page = await openPage(browser, base);
  await goTo(page, `${base}/`);
  await looksWell(page, 'an empty store');
  await page.context().close();
}

async function gallery(page, base) {
  await goTo(page, `${base}/?limit=${CARDS}`);
  await page.locator('#hours a').first().waitFor();
  await looksWell(page, 'the gallery');
  await page.goto(`${base}/?limit=${CARDS}`);
  await page.locator('.pick input').nth(1).check();
  await page.locator('.pick input').nth(2).check();
  await looksWell(page, 'a selection');
  for (const [act, dialog] of [['remove', '#ask'], ['export', '#export'], ['share', '#share']]) {
    await page.click(`#bulk [data-act=${act}]`);
    await page.locator(`${dialog}[open]`).waitFor();
    await looksWell(page, `the question before: ${act}`);
    await page.keyboard.press('Escape');
  }
  await goTo(page, `${base}/?until=2001-01-01T00:00:00Z`);
  await looksWell(page, 'a filter that picks nothing');
}

async function frame(page, base) {
  const { frames } = await (await fetch(`${base}/api/v1/frames?limit=100&sync=done`)).json();
  const best = frames.reduce((one, other) => (other.detections.length > one.detections.length ? other : one));
  await goTo(page, `${base}/frames/${best.id}`);
  await looksWell(page, 'a frame');
  await page.keyboard.press('w');
  await page.locator('#choice').waitFor();
  await looksWell(page, 'a choice of classes');
}

async function live(page, base) {
  await page.goto(`${base}/live`);
  await page.waitForFunction(() => document.querySelectorAll('.camera .view img').length >= 2);
  await page.waitForSelector('.camera.alarmed .chip.alert');
  await looksWell(page, 'the live view');
}

async function shares(browser, page, base) {
  await page.goto(`${base}/shares?tier=annotated`);
  await page.fill('input[name=title]', 'For the night shift');
  await page.click('form.filters button[type=submit]');
  await page.locator('td:has-text("For the night shift")').waitFor();
  await looksWell(page, 'the shares');
  const { shares: list } = await (await fetch(`${base}/api/v1/shares`)).json();
  const guest = await openPage(browser, base);
  await goTo(guest, list[0].url);
  await looksWell(guest, 'a shared gallery');
  await guest.context().close();
}

async function login(browser, base, config) {
  const added = spawnSync(creel, ['user', 'add', 'anna', '--role', 'admin', '--config', config], { input: `${password}\n` });
  assert.strictEqual(added.status, 0, added.stderr?.toString());
  const page = await openPage(browser, base);
  await page.goto(`${base}/status`);
  assert.match(page.url(), /\/login\?to=/);
  await looksWell(page, 'the login');
  await page.fill('#user', 'anna');
  await page.fill('#password', 'wrong horse');
  await page.keyboard.press('Enter');
  await page.locator('[role=alert]').waitFor();
  forgive(/403/);
  await looksWell(page, 'a login that was refused');
  await page.fill('#user', 'anna');
  await page.fill('#password', password);
  await page.keyboard.press('Enter');
  await page.waitForURL(`${base}/status`);
  await page.click('nav a:has-text("Account")');
  await looksWell(page, 'the account');
  await page.context().close();
}

// ---- pictures for the README ----

// Frames of the last hours, some more in the one than in the other.
async function hoursOfFrames(dir, ports, base) {
  const clock = path.join(dir, 'past.so');
  execFileSync('cc', ['-shared', '-fPIC', '-o', clock, path.join(sourceDir, 'tests/browser/past.c')]);
  const config = writeConfig(dir, configText(dir, ports, cameras(12, Object.keys(SEEDS)), ''));
  const wanted = [9, 14, 22, 31, 27, 12, 18, 36, 41];
  for (let hour = 0, sum = 0; hour < wanted.length; hour += 1) {
    sum += wanted[hour];
    const daemon = startProgram(creel, ['run', '--config', config], path.join(dir, 'daemon.log'),
      { LD_PRELOAD: clock, CREEL_PAST: String((wanted.length - hour) * 3600) });
    await until(`${sum} frames`, async () => (await fetch(`${base}/api/v1/frames?limit=500`)
      .then((answer) => answer.json(), () => ({ frames: [] }))).frames.length >= sum);
    assert.strictEqual(await stop(daemon), 0);
  }
}

async function pictures(browser, base, folder) {
  const shots = async (where, options, ready, names) => {
    const page = await openPage(browser, base, options);
    await goTo(page, base + where);
    await ready(page);
    await page.mouse.move(0, 0);
    for (const [name, colorScheme] of Object.entries(names)) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: path.join(folder, `${name}.jpg`), type: 'jpeg', quality: 68 });
    }
    await page.context().close();
  };
  // The demo's day has nights and fog: the pictures are of an hour at which people can see something, too.
  // Noise makes large files.
  const clean = (frame) => frame.bytes < 32 << 10;
  const clear = async () => (await (await fetch(`${base}/api/v1/frames?limit=10`)).json()).frames
    .filter((frame) => clean(frame) && frame.detections[0]?.confidence > 0.8).length >= 8;
  const clearDay = () => until('a clear day', clear, 120000);
  await clearDay();
  const { frames } = await (await fetch(`${base}/api/v1/frames?limit=500&tier=annotated&sync=done`)).json();
  const sure = (frame) => frame.detections.filter((found) => found.confidence >= 0.6).length;
  const best = frames.filter(clean).reduce((one, other) => (sure(other) > sure(one) ? other : one));
  const hours = (page) => page.locator('#hours a').nth(8).waitFor();
  await shots('/', {}, hours, { 'gallery-light': 'light' });
  await shots('/', { colorScheme: 'dark' }, async (page) => {
    await hours(page);
    for (const at of [1, 2, 7]) await page.locator('.pick input').nth(at).check();
  }, { 'gallery-dark': 'dark' });
  await shots(`/frames/${best.id}`, {}, async () => {}, { frame: 'light' });
  await shots('/status', {}, async () => {}, { status: 'light' });
  await clearDay();
  await shots('/', { viewport: phone, deviceScaleFactor: 2, isMobile: true, hasTouch: true }, hours, { phone: 'light' });
  await clearDay();
  await shots('/live', {}, (page) => page.waitForFunction(() => document.querySelectorAll('.camera .view img').length === 3 &&
    [...document.querySelectorAll('.chip.alert')].some((chip) => parseInt(chip.textContent.split(' ').at(-1), 10) > 80),
  null, { timeout: 90000 }), { live: 'light' });
}

await main(async () => {
  const dir = scratch('looks');
  const folder = process.env.CREEL_SCREENSHOTS && path.resolve(process.env.CREEL_SCREENSHOTS);
  const ports = { web: await freePort(), ingest: await freePort(), azurite: await freePort() };
  const base = `http://127.0.0.1:${ports.web}`;
  const azurite = path.join(dir, 'azurite');
  fs.mkdirSync(azurite);
  const [browser] = await Promise.all([launch(), startAzurite(azurite, ports.azurite)]);
  try {
    let config = writeConfig(dir, configText(dir, ports, '{}'));
    let daemon = await startDaemon(config, answers(`${base}/readyz`));
    await emptyStore(browser, base);
    assert.strictEqual(await stop(daemon), 0);

    if (folder) await hoursOfFrames(dir, ports, base);
    config = writeConfig(dir, configText(dir, ports, folder ? cameras(4, Object.keys(SEEDS)) : cameras(8)));
    daemon = await startDaemon(config, answers(`${base}/readyz`));
    await until('frames of both tiers, some in Azurite', async () => {
      const has = async (query) => (await (await fetch(`${base}/api/v1/frames?limit=${CARDS}&${query}`)).json()).frames.length;
      return await has('tier=annotated') && await has('tier=unannotated') && await has('') === CARDS && await has('sync=done');
    });
    if (folder) {
      assert.strictEqual(run('sync', 'backfill', 'cloud', '--config', config).status, 0);
      await until('most frames in Azurite', async () =>
        (await (await fetch(`${base}/api/v1/frames?limit=500&sync=done`)).json()).frames.length > 150);
      await pictures(browser, base, folder);
    }
    const page = await openPage(browser, base);
    await gallery(page, base);
    await frame(page, base);
    await live(page, base);
    await goTo(page, `${base}/status`);
    await looksWell(page, 'the status');
    await shares(browser, page, base);
    await page.context().close();
    await login(browser, base, config);
    assert.deepStrictEqual(faults, []);
    assert.strictEqual(await stop(daemon), 0);
  } finally {
    await browser.close();
  }
});
