// Every page in light and dark, on a desktop and a phone: axe-core finds no serious fault in it, nothing is wider than the
// screen. The daemon, its demo cameras and the model that comes with creel are real, the frames are in Azurite.
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {
  account, accountKey, answers, creel, freePort, main, scratch, sourceDir, startAzurite, startDaemon, stop, until, writeConfig,
} from '../lib.mjs';
import { assertFits, desktop, faults, forgive, launch, lookForFaults, openPage, phone } from './lib.mjs';

const CARDS = 8; // of a page: each is like the others, and the check looks at every one
const password = 'correct horse';

const configText = (dir, ports, cameras) => `
device: {id: test-device, clock: trusted}
cameras: ${cameras}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
triage: {budget: {per: 1s, day: off}, empty_fraction: 0.05}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off}
web: {listen: "127.0.0.1:${ports.web}", alerts: [forklift, truck]}
ingest: {listen: "127.0.0.1:${ports.ingest}"}
sync:
  remotes:
    cloud:
      type: azure
      required: true
      create_containers: true
      connection_string: "DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${accountKey};BlobEndpoint=http://127.0.0.1:${ports.azurite}/${account};"
`;

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
  await page.click('#bulk [data-act=remove]');
  await page.locator('#ask[open]').waitFor();
  await looksWell(page, 'the question before a removal');
  await page.keyboard.press('Escape');
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
  await page.waitForFunction(() => document.querySelectorAll('.camera .view img').length === 2);
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

await main(async () => {
  const dir = scratch('looks');
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

    config = writeConfig(dir, configText(dir, ports, '{dock: {source: "demo:", fps: 8, seed: 3}, gate: {source: "demo:", fps: 8, seed: 11}}'));
    daemon = await startDaemon(config, answers(`${base}/readyz`));
    await until('frames of both tiers, some in Azurite', async () => {
      const has = async (query) => (await (await fetch(`${base}/api/v1/frames?limit=${CARDS}&${query}`)).json()).frames.length;
      return await has('tier=annotated') && await has('tier=unannotated') && await has('') === CARDS && await has('sync=done');
    });
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
