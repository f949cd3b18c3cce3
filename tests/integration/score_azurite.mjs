// Photos pushed to /score by curl: every answer has the published shape, every frame that was kept is in Azurite byte
// for byte, and ten kill -9 in the middle lose nothing that was acknowledged.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import {
  account, accountKey, answers, azureBlobs, curlScore, freePort, main, modelDir, nodeDir, photos, run, runJson,
  scratch, sha256, sleep, sourceDir, startAzurite, startDaemon, stop, until, writeConfig,
} from '../lib.mjs';

const require = createRequire(path.join(nodeDir, 'package.json'));
const Ajv = require('ajv/dist/2020').default;

const PHOTOS = 200;
const KILLS = 10;
const CALLERS = 3;

function lvaValidator() {
  const schema = JSON.parse(fs.readFileSync(path.join(sourceDir, 'schemas/lva-inference.schema.json'), 'utf8'));
  return new Ajv({ allErrors: true, strict: false }).compile(schema);
}

function checkAnswer(validate, reply, file) {
  if (reply.status === 204) {
    assert.strictEqual(reply.body, '', `${file}: 204 has a body`);
    return;
  }
  assert.strictEqual(reply.status, 200, `${file}: ${reply.status} ${reply.body}`);
  assert.ok(validate(JSON.parse(reply.body)), `${file}: ${JSON.stringify(validate.errors)}`);
}

// Posts until there is an answer: the daemon may be dead, starting, or busy.
async function push(port, file) {
  for (;;) {
    const reply = await curlScore(port, file, '?wait=stored&stream=door');
    if (!reply.failed && reply.status !== 503) return reply;
    await sleep(100);
  }
}

await main(async () => {
  const dir = scratch('score');
  const [azuritePort, ingestPort] = [await freePort(), await freePort()];
  fs.mkdirSync(path.join(dir, 'azurite'));
  const azurite = await startAzurite(path.join(dir, 'azurite'), azuritePort);
  const config = writeConfig(dir, `
version: 1
device: {id: test-device, clock: trusted}
model: {dir: ${modelDir(dir)}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 2GiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${ingestPort}"}
sync:
  remotes:
    cloud:
      type: azure
      required: true
      create_containers: true
      connection_string: "DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${accountKey};BlobEndpoint=http://127.0.0.1:${azuritePort}/${account};"
`);
  const ready = answers(`http://127.0.0.1:${ingestPort}/`);
  let daemon = await startDaemon(config, ready);
  const validate = lvaValidator();

  fs.mkdirSync(path.join(dir, 'photos'));
  const files = photos(path.join(dir, 'photos'), PHOTOS);
  const acknowledged = new Map(); // frame id -> sha256 of what was posted
  let empty = 0;
  let next = 0;
  let done = 0;
  const caller = async () => {
    while (next < files.length) {
      const file = files[next++];
      const reply = await push(ingestPort, file);
      checkAnswer(validate, reply, file);
      empty += reply.status === 204;
      const id = reply.headers.get('creel-frame');
      if (id) acknowledged.set(id, sha256(fs.readFileSync(file)));
      done++;
    }
  };
  const killer = async () => {
    for (let i = 1; i <= KILLS; i++) {
      await until('progress', () => done >= (i * PHOTOS) / (KILLS + 1), 300000);
      await sleep(Math.random() * 60);
      await stop(daemon, 'SIGKILL');
      daemon = await startDaemon(config, ready);
    }
  };
  await Promise.all([killer(), ...Array.from({ length: CALLERS }, caller)]);

  const sync = run('sync', '--wait', '--timeout', '120', '--config', config);
  assert.strictEqual(sync.status, 0, sync.stderr + sync.stdout);
  const status = runJson('status', '--json', '--config', config);
  const kept = status.store.annotated.frames + status.store.unannotated.frames;
  console.log(`photos ${PHOTOS}, kills ${KILLS}, acknowledged ${acknowledged.size}, empty answers ${empty}, frames in the store ${kept}`);
  assert.ok(acknowledged.size > 0, 'nothing was kept: the test shows nothing');
  assert.ok(status.store.annotated.frames > 0 && status.store.unannotated.frames > 0, 'one tier stayed empty');

  const remote = new Map();
  for (const container of ['annotated', 'unannotated']) {
    for (const blob of await azureBlobs(azuritePort, container)) {
      const hash = sha256(blob.bytes);
      assert.match(blob.name, new RegExp(`^frames/tier=${container}/device=test-device/date=\\d{4}-\\d\\d-\\d\\d/${hash}\\.jpg$`));
      remote.set(hash, blob);
    }
  }
  for (const [id, hash] of acknowledged) {
    const local = run('get', id, '--config', config);
    assert.strictEqual(local.status, 0, `${id}: ${local.stderr}`);
    assert.strictEqual(sha256(local.stdout), hash, `${id}: other bytes came back`);
    assert.ok(remote.has(hash), `${id}: not in Azurite`);
  }
  let frames = 0;
  for (let after = ''; ;) {
    const page = run('ls', '--json', '--limit', '500', '--config', config, ...(after ? ['--after', after] : []));
    const rows = page.stdout.toString().trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));
    for (const row of rows) assert.ok(remote.has(row.sha256), `${row.id}: kept, but not in Azurite`);
    frames += rows.length;
    after = (page.stderr.match(/--after (\S+)/) || [])[1];
    if (!after) break;
  }
  assert.strictEqual(frames, kept);

  assert.strictEqual(await stop(daemon), 0, 'SIGTERM did not end well');
  const fsck = run('fsck', '--config', config);
  assert.strictEqual(fsck.status, 0, fsck.stdout.toString());
  console.log(fsck.stdout.toString().trim());
  await stop(azurite);
});
