// As a service: says when it is ready, feeds the watchdog, reloads what may be reloaded on SIGHUP and names what may
// not, and drains on SIGTERM: what was accepted is in the store, exit 0.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { creel, buildDir, curlScore, freePort, main, modelDir, photos, run, runJson, scratch, startProgram, stop, until, writeConfig } from '../lib.mjs';

await main(async () => {
  const dir = scratch('service');
  const port = await freePort();
  const text = (confident, queue) => `
device: {id: service, clock: trusted}
model: {dir: ${model}}
inference: {queue: ${queue}, workers: 1}
triage: {confident: ${confident}, budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 512MiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${port}"}
`;
  const model = modelDir(dir);
  const config = writeConfig(dir, text(0.6, 64));
  const notes = path.join(dir, 'notes');
  const log = path.join(dir, 'daemon.log');
  const said = (word) => fs.existsSync(notes) && fs.readFileSync(notes, 'utf8').split('\n').filter((line) => line === word).length;
  const daemon = startProgram(path.join(buildDir, 'tests', 'notified'), [notes, creel, 'run', '--config', config], log);
  await until('READY=1', () => said('READY=1') === 1);
  await until('two WATCHDOG=1', () => said('WATCHDOG=1') >= 2);

  const second = run('run', '--config', config);
  assert.notStrictEqual(second.status, 0, 'a second daemon on the same store');
  assert.match(second.stderr, /open in another process/);

  writeConfig(dir, text(0.05, 64));
  daemon.kill('SIGHUP');
  await until('a refused reload', () => /not reloaded/.test(fs.readFileSync(log, 'utf8')));
  writeConfig(dir, text(0.99, 32));
  daemon.kill('SIGHUP');
  await until('READY=1 again', () => said('READY=1') === 3 && said('RELOADING=1') === 2);
  // A change that is taken back is a change: compared with the last reload, not with the start.
  for (const [confident, changes] of [[0.6, 2], [0.99, 3]]) {
    writeConfig(dir, text(confident, 32));
    daemon.kill('SIGHUP');
    await until(`reload ${changes}`, () => (fs.readFileSync(log, 'utf8').match(/triage\.confident: reload/g) ?? []).length === changes);
  }
  const told = fs.readFileSync(log, 'utf8');
  assert.match(told, /triage\.confident: reload/);
  assert.match(told, /inference\.queue: needs a restart/);

  fs.mkdirSync(path.join(dir, 'photos'));
  const files = photos(path.join(dir, 'photos'), 24);
  const replies = Promise.all(files.map((file) => curlScore(port, file, '?wait=stored')));
  await until('some frames', () => runJson('status', '--json', '--config', config).pipeline.frames_seen > 2);
  const last = runJson('show', '@last', '--json', '--config', config);
  assert.strictEqual(run('get', last.sha256, '--config', config).stdout.length, last.bytes, 'show and get while the daemon runs');
  for (const odd of [['--camera', 'x'.repeat(33)], ['--class', 'x'.repeat(48)], ['--confidence', 'nan'], ['--limit', '1e300']]) {
    assert.strictEqual(run('ls', ...odd, '--config', config).status, 2, odd.join(' '));
  }
  assert.strictEqual(await stop(daemon), 0, 'SIGTERM');
  assert.strictEqual(said('STOPPING=1'), 1);
  const ids = (await replies).map((reply) => reply.headers.get('creel-frame')).filter(Boolean);
  for (const id of ids) assert.strictEqual(run('show', id, '--config', config).status, 0, id);
  const status = run('status', '--json', '--config', config);
  assert.strictEqual(status.status, 4, 'status without a daemon');
  const { store } = JSON.parse(status.stdout.toString());
  assert.ok(ids.length > 0 && store.annotated.frames + store.unannotated.frames >= ids.length);
  assert.strictEqual(store.annotated.frames, 0, 'with confident: 0.99 nothing is sure: the reload was not applied');
  assert.strictEqual(run('fsck', '--config', config).status, 0);
  console.log(`acknowledged ${ids.length} of ${files.length} while stopping; all are there`);
});
