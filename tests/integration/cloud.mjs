// The commands for a whole remote, as a person uses them: fsck --remote, cloud gc, cloud lifecycle, rm --remote, on
// Azurite, a Ceph RADOS gateway and a directory, with the daemon running and without, and with wrong input.
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {
  account, accountKey, answers, azure, azureBlobs, curlScore, freePort, main, photos, run, runJson, scratch, sourceDir,
  startAzurite, startDaemon, stop, until, writeConfig,
} from '../lib.mjs';

const PHOTOS = 24;
const demoModel = path.join(sourceDir, 'inference', 'models', 'demo');
const names = ['cloud', 'bucket', 'disk'];

function rgw(...args) {
  const done = spawnSync('sh', [path.join(sourceDir, 'tests/servers/rgw.sh'), ...args],
    { env: { ...process.env, OWNER_PID: String(process.pid), ACCESS_KEY: 'CREELTESTACCESSKEY00',
      SECRET_KEY: 'creel-test-secret-key-of-forty-characters' }, stdio: 'ignore' }); // its guards would hold a pipe open
  assert.strictEqual(done.status, 0, `rgw.sh ${args.join(' ')}`);
}

// Lines of JSON: the findings, then a summary of each remote.
function lines(result) {
  return result.stdout.toString().trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

function fsck(config, status, ...args) {
  const result = run('fsck', '--remote', ...args, '--json', '--config', config);
  assert.strictEqual(result.status, status, `${args.join(' ')}: ${result.stdout}${result.stderr}`);
  return lines(result);
}

const summary = (rows, remote) => rows.find((row) => row.remote === remote && 'clean' in row);
const findings = (rows, kind) => rows.filter((row) => row.finding === kind);

function refused(status, words, ...args) {
  const result = run(...args);
  assert.strictEqual(result.status, status, `creel ${args.join(' ')}: ${result.status}: ${result.stdout}${result.stderr}`);
  assert.match(result.stderr, words, `creel ${args.join(' ')}`);
}

function wrongInput(config, dir) {
  refused(2, /--force go with --remote/, 'fsck', '--force', '--config', config);
  refused(2, /usage/, 'fsck', '--remote', '--rebuild', '--config', config);
  refused(2, /one argument too many/, 'fsck', '--remote', 'a', 'b', '--config', config);
  refused(3, /no remote is named "nobody"/, 'fsck', '--remote', 'nobody', '--config', config);
  refused(3, /no remote is named "nobody"/, 'cloud', 'gc', 'nobody', '--config', config);
  refused(2, /usage/, 'cloud', 'lifecycle', 'change', '--config', config);
  refused(2, /usage/, 'cloud', 'forget', '--config', config);
  refused(2, /an argument is missing/, 'cloud', '--config', config);
  refused(3, /no such frame/, 'rm', '--remote', '00000000-0000-7000-8000-000000000000', '--config', config);
  refused(2, /no-such-frame/, 'rm', '--remote', 'no-such-frame', '--config', config);
  refused(78, /ttl/, 'cloud', 'gc', '--set', 'sync.remotes.disk.ttl.annotated=1h', '--config', config);
  refused(8, /another place/, 'fsck', '--remote', 'disk', '--set', `sync.remotes.disk.path=${dir}/elsewhere`, '--config', config);
  refused(7, /account key/, 'fsck', '--remote', 'cloud', '--set', `sync.remotes.cloud.account_key=file:${dir}/wrong-key`, '--config', config);
}

async function damage(dir, azuritePort) {
  const frame = (tier) => lines(run('ls', '--tier', tier, '--json', '--config', path.join(dir, 'creel.yaml')))[0];
  const tier = frame('annotated') ? 'annotated' : 'unannotated';
  const key = runJson('show', frame(tier).id, '--json', '--config', path.join(dir, 'creel.yaml')).replicas
    .find((replica) => replica.remote === 'cloud').key;
  assert.strictEqual((await azure(azuritePort, 'DELETE', `/${tier}/${key}`)).status, 202);
  fs.truncateSync(path.join(dir, 'disk', key), 10);
  return key;
}

async function fsckAll(dir, config, azuritePort) {
  let rows = fsck(config, 0);
  for (const name of names) {
    const row = summary(rows, name);
    assert.ok(row.clean && row.objects === row.receipts && row.receipts > 0, JSON.stringify(row));
    assert.strictEqual(Object.values(row.found).reduce((a, b) => a + b), 0, JSON.stringify(row));
  }
  const key = await damage(dir, azuritePort);
  rows = fsck(config, 6);
  assert.deepStrictEqual(findings(rows, 'missing').map((row) => [row.remote, row.key]), [['cloud', key]]);
  assert.deepStrictEqual(findings(rows, 'wrong').map((row) => [row.remote, row.key]), [['disk', key]]);
  assert.match(run('fsck', '--remote', 'cloud', '--config', config).stdout.toString(), /--repair/);
  rows = fsck(config, 0, 'cloud', '--repair');
  assert.strictEqual(summary(rows, 'cloud').queued, 1);
  fsck(config, 6, 'disk', '--repair'); // what is wrong is not overwritten
  return key;
}

function gcAll(config, dir, daemonRuns) {
  const none = run('cloud', 'gc', '--config', config);
  assert.strictEqual(none.status, 0, none.stderr);
  assert.match(none.stdout.toString(), /no tier has a ttl/);
  const ttl = ['--set', 'sync.remotes.disk.ttl.annotated=2d', '--set', 'sync.remotes.disk.ttl.unannotated=2d'];
  // Some objects of the directory grow old, by name and by time; a date of its own keeps the others young.
  const disk = path.join(dir, 'disk');
  const old = [];
  for (const file of fs.readdirSync(disk, { recursive: true }).filter((name) => name.endsWith('.jpg')).sort()) {
    if (old.length === 3) break;
    const aged = path.join(disk, file.replace(/date=[^/]*/, 'date=2020-01-01'));
    fs.mkdirSync(path.dirname(aged), { recursive: true });
    fs.copyFileSync(path.join(disk, file), aged);
    fs.utimesSync(aged, 1577836800, 1577836800);
    old.push(aged);
  }
  const dry = run('cloud', 'gc', 'disk', '--dry-run', '--config', config, ...ttl);
  assert.strictEqual(dry.status, 0, dry.stderr);
  assert.match(dry.stdout.toString(), /would remove 3/);
  assert.ok(old.every((file) => fs.existsSync(file)));
  const [row] = lines(run('cloud', 'gc', 'disk', '--json', '--config', config, ...ttl)).slice(-1);
  assert.strictEqual(row.removed, 3, JSON.stringify(row));
  assert.ok(old.every((file) => !fs.existsSync(file) && !fs.existsSync(path.dirname(file))));
  console.log(`gc ${daemonRuns ? 'with' : 'without'} a daemon: ok`);
}

function lifecycles(config) {
  const ttl = ['--set', 'sync.remotes.bucket.ttl.annotated=90d', '--set', 'sync.remotes.cloud.ttl.annotated=90d'];
  const shown = run('cloud', 'lifecycle', 'show', 'bucket', '--config', config, ...ttl);
  assert.strictEqual(shown.status, 0, shown.stderr);
  assert.match(shown.stdout.toString(), /creel-annotated: new\n {2}\+ .*Days=90.*frames\/tier=annotated\//);
  refused(8, /--force applies it/, 'cloud', 'lifecycle', 'apply', 'bucket', '--config', config, ...ttl);
  const set = run('cloud', 'lifecycle', 'apply', 'bucket', '--force', '--config', config, ...ttl);
  assert.strictEqual(set.status, 0, set.stderr);
  assert.match(run('cloud', 'lifecycle', 'show', 'bucket', '--config', config, ...ttl).stdout.toString(), /nothing to change/);
  const azurePolicy = run('cloud', 'lifecycle', 'show', 'cloud', '--config', config, ...ttl);
  assert.strictEqual(azurePolicy.status, 0);
  assert.match(azurePolicy.stderr, /az storage account management-policy/);
  assert.strictEqual(JSON.parse(azurePolicy.stdout.toString()).rules[0].definition.filters.prefixMatch[0],
    'annotated/frames/tier=annotated/');
  refused(8, /directory has no rules/, 'cloud', 'lifecycle', 'show', 'disk', '--config', config);
  refused(3, /no tier has a ttl/, 'cloud', 'lifecycle', 'show', 'cloud', '--config', config);
}

async function removals(dir, config, azuritePort) {
  const frames = lines(run('ls', '--json', '--config', config));
  const [pinned, plain] = frames;
  const shown = runJson('show', plain.id, '--json', '--config', config);
  const key = shown.replicas.find((replica) => replica.remote === 'cloud').key;
  const there = async () => (await azureBlobs(azuritePort, key.includes('tier=annotated') ? 'annotated' : 'unannotated'))
    .some((blob) => blob.name === key);
  assert.strictEqual(run('pin', pinned.id, '--config', config).status, 0);
  refused(8, /is pinned/, 'rm', '--remote', pinned.id, plain.id, '--config', config);
  const dry = run('rm', '--remote', '--dry-run', plain.id, '--config', config);
  assert.strictEqual(dry.status, 0, dry.stderr);
  assert.ok(dry.stdout.toString().includes(`disk: ${key}`), dry.stdout.toString());
  assert.ok(await there());
  const gone = run('rm', '--remote', plain.id, '--config', config);
  assert.strictEqual(gone.status, 0, gone.stderr);
  assert.ok(!(await there()));
  assert.ok(!fs.existsSync(path.join(dir, 'disk', key)));
  const why = run('why', plain.id, '--config', config).stdout.toString();
  assert.match(why, /removed by hand at cloud/);
  assert.match(why, /removed by hand at bucket/);
  assert.match(run('ls', '--config', config).stdout.toString(), /gone/);
  assert.strictEqual(run('rm', '--remote', plain.id, '--config', config).status, 0, 'again, as after a fault');
  const rows = fsck(config, 0);
  for (const name of names) assert.strictEqual(summary(rows, name).found.missing, 0);
}

await main(async () => {
  const dir = scratch('cloud');
  const [azuritePort, ingestPort, rgwPort, monitorPort] =
    [await freePort(), await freePort(), await freePort(), await freePort()];
  fs.mkdirSync(path.join(dir, 'azurite'));
  await startAzurite(path.join(dir, 'azurite'), azuritePort);
  rgw('start', path.join(dir, 'rgw'), String(rgwPort), String(monitorPort));
  fs.writeFileSync(path.join(dir, 'wrong-key'), 'd3Jvbmc=', { mode: 0o600 });
  fs.writeFileSync(path.join(dir, 'key'), accountKey, { mode: 0o600 });
  fs.writeFileSync(path.join(dir, 'secret'), 'creel-test-secret-key-of-forty-characters', { mode: 0o600 });
  fs.writeFileSync(path.join(dir, 'access'), 'CREELTESTACCESSKEY00', { mode: 0o600 });
  const config = writeConfig(dir, `
version: 1
device: {id: test-device, clock: trusted}
model: {dir: ${demoModel}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off, tiers: {annotated: {keep_after_upload: forever}, unannotated: {keep_after_upload: forever}}}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${ingestPort}"}
sync:
  remotes:
    cloud: {type: azure, create_containers: true, url: "http://127.0.0.1:${azuritePort}/${account}", account_key: "file:${dir}/key"}
    bucket: {type: s3, create_containers: true, url: "http://127.0.0.1:${rgwPort}", bucket: test-bucket, access_key: "file:${dir}/access", secret_key: "file:${dir}/secret"}
    disk: {type: directory, path: ${dir}/disk}
`);
  const ready = answers(`http://127.0.0.1:${ingestPort}/`);
  refused(3, /no daemon runs and there is no store/, 'fsck', '--remote', '--config', config);
  let daemon = await startDaemon(config, ready);
  fs.mkdirSync(path.join(dir, 'photos'));
  for (const file of photos(path.join(dir, 'photos'), PHOTOS)) {
    assert.ok([200, 204].includes((await curlScore(ingestPort, file, '?wait=stored')).status));
  }
  const synced = () => run('sync', '--wait', '--timeout', '60', '--config', config).status === 0;
  assert.ok(synced(), run('sync', '--config', config).stdout.toString());

  wrongInput(config, dir);
  const key = await fsckAll(dir, config, azuritePort);
  await until('the missing object', async () => (await azureBlobs(azuritePort, key.split('tier=')[1].split('/')[0]))
    .some((blob) => blob.name === key));
  assert.ok(synced());
  fsck(config, 0, 'cloud');
  gcAll(config, dir, true);
  lifecycles(config);
  fs.rmSync(path.join(dir, 'disk', key)); // the truncated one: now it is missing, and comes again
  fsck(config, 0, 'disk', '--repair');
  assert.ok(synced());
  await removals(dir, config, azuritePort);

  assert.strictEqual(await stop(daemon), 0);
  assert.strictEqual(run('fsck', '--config', config).status, 0);
  const without = fsck(config, 0);
  assert.ok(names.every((name) => summary(without, name).clean));
  gcAll(config, dir, false);
  assert.strictEqual(run('fsck', '--rebuild', '--config', config).status, 0);
  fsck(config, 0); // an index made anew says the same
  daemon = await startDaemon(config, ready);
  assert.ok(synced()); // and nothing that was removed comes back
  assert.strictEqual(summary(fsck(config, 0, 'cloud'), 'cloud').objects, summary(without, 'cloud').objects);
  await stop(daemon);
  rgw('stop', path.join(dir, 'rgw'));
});
