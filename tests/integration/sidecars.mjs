// Sidecars and overlays: off unless a tier asks for them; then each frame of that tier has its document and a picture
// with boxes beside it, at a directory and in Azurite, also after a kill -9, and the frames themselves are untouched.
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {
  account, accountKey, answers, azureBlobs, creel, curlScore, freePort, main, modelDir, photos, run, scratch, sha256,
  startAzurite, startDaemon, stop, until, writeConfig,
} from '../lib.mjs';

const PHOTOS = 16;

const filesIn = (dir) => (fs.existsSync(dir) ? fs.readdirSync(dir, { recursive: true })
  .filter((name) => fs.statSync(path.join(dir, name)).isFile()) : []);

await main(async () => {
  const dir = scratch('sidecars');
  const nas = path.join(dir, 'nas');
  const [azuritePort, ingestPort] = [await freePort(), await freePort()];
  fs.mkdirSync(path.join(dir, 'azurite'));
  const azurite = await startAzurite(path.join(dir, 'azurite'), azuritePort);
  const text = (extra) => `
version: 1
device: {id: test-device, clock: trusted}
model: {dir: ${modelDir(fs.mkdtempSync(path.join(dir, 'model-')))}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 2GiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${ingestPort}"}
sync:
${extra}
  manifests: {age: 1s}
  remotes:
    nas: {type: directory, path: ${nas}}
    cloud:
      type: azure
      create_containers: true
      connection_string: "DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${accountKey};BlobEndpoint=http://127.0.0.1:${azuritePort}/${account};"
`;
  const ready = answers(`http://127.0.0.1:${ingestPort}/`);
  fs.mkdirSync(path.join(dir, 'photos'));
  const files = photos(path.join(dir, 'photos'), PHOTOS);
  let config = writeConfig(dir, text('  order: oldest'));
  let daemon = await startDaemon(config, ready);
  for (const file of files.slice(0, PHOTOS / 2)) await curlScore(ingestPort, file, '?wait=stored&stream=door');
  await until('the first manifest', () => filesIn(path.join(nas, 'manifests')).length > 0);
  assert.deepStrictEqual([filesIn(path.join(nas, 'sidecars')), filesIn(path.join(nas, 'overlays'))], [[], []]);
  assert.strictEqual(await stop(daemon), 0);

  config = writeConfig(dir, text('  sidecars: {unannotated: true}\n  overlays: {unannotated: true}'));
  daemon = await startDaemon(config, ready);
  for (const file of files.slice(PHOTOS / 2)) await curlScore(ingestPort, file, '?wait=stored&stream=door');
  await stop(daemon, 'SIGKILL');
  daemon = await startDaemon(config, ready);
  const frames = run('ls', '--json', '--limit', '500', '--config', config).stdout.toString().trim().split('\n')
    .map((line) => JSON.parse(line));
  const wanted = new Set(frames.filter((frame) => frame.tier === 'unannotated').map((frame) => frame.sha256));
  assert.ok(wanted.size > 4, 'too few frames to show anything');
  const count = (folder) => filesIn(path.join(nas, folder)).length;
  await until('all beside the frames', () => count('sidecars') >= wanted.size && count('overlays') >= wanted.size);
  assert.deepStrictEqual([count('sidecars'), count('overlays')], [wanted.size, wanted.size]);
  const cloud = () => azureBlobs(azuritePort, 'unannotated')
    .then((blobs) => blobs.filter((blob) => !blob.name.startsWith('frames/')));
  await until('all in the cloud', async () => (await cloud()).length >= 2 * wanted.size);
  const blobs = new Map((await cloud()).map((blob) => [blob.name, blob.bytes]));
  assert.strictEqual(blobs.size, 2 * wanted.size);

  for (const frame of frames.filter((one) => one.tier === 'unannotated')) {
    const place = (folder, end) => `${folder}/tier=unannotated/device=test-device/date=${frame.kept.slice(0, 10)}/${frame.sha256}.${end}`;
    const sidecar = JSON.parse(fs.readFileSync(path.join(nas, place('sidecars', 'json')), 'utf8'));
    for (const column of ['schema', 'camera', 'tier', 'sha256', 'bytes', 'width', 'height', 'rule', 'phash']) {
      assert.strictEqual(sidecar[column], frame[column], column);
    }
    assert.strictEqual(sidecar.key, place('frames', 'jpg'));
    assert.strictEqual(sha256(fs.readFileSync(path.join(nas, sidecar.key))), frame.sha256);
    assert.ok(sidecar.detections.length >= frame.detections.length);
    const overlay = fs.readFileSync(path.join(nas, place('overlays', 'jpg')));
    assert.deepStrictEqual([...overlay.subarray(0, 3)], [0xff, 0xd8, 0xff]);
    assert.notStrictEqual(sha256(overlay), frame.sha256);
    for (const name of [place('sidecars', 'json'), place('overlays', 'jpg')]) {
      assert.strictEqual(sha256(blobs.get(name)), sha256(fs.readFileSync(path.join(nas, name))), name);
    }
  }
  assert.strictEqual(await stop(daemon), 0);
  await stop(azurite);
  // The process that draws answers bad bytes with an exit status, and nothing else.
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(64), Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]), Buffer.alloc(9)])]) {
    const child = spawnSync(creel, ['overlay-child'], { input: bytes });
    assert.strictEqual(child.status, 1);
    assert.strictEqual(child.stdout.length, 0);
  }
  console.log(`frames ${frames.length}, of the tier ${wanted.size}, sidecars and overlays ${count('sidecars')} and ${count('overlays')}`);
});
