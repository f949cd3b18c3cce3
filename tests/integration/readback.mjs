// What creel wrote is what everybody else reads: rclone and awscli fetch all of it from Azurite and Ceph RGW, every
// object's bytes have the hash in its name, and the MD5 that each server keeps is that of the bytes.
import assert from 'node:assert';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import {
  account, accountKey, answers, curlScore, freePort, main, modelDir, photos, run, scratch, sha256, skip, sourceDir,
  startDaemon, stop, writeConfig,
} from '../lib.mjs';

const PHOTOS = 30;
const key = 'CREELTESTACCESSKEY00';
const secret = 'creel-test-secret-key-of-forty-characters';

function start(script, dir, ...ports) {
  execFileSync(path.join(sourceDir, 'tests/servers', script), ['start', dir, ...ports.map(String)], {
    env: { ...process.env, OWNER_PID: String(process.pid) }, stdio: 'ignore',
  });
}

function tool(command, args, env = {}) {
  const done = spawnSync(command, args, {
    env: { PATH: '/usr/bin:/bin', HOME: '/nonexistent', NO_PROXY: '*', ...env }, encoding: 'utf8', maxBuffer: 1 << 26,
  });
  assert.strictEqual(done.status, 0, `${command} ${args.join(' ')}: ${done.stderr}`);
  return done.stdout;
}

const files = (dir) => fs.readdirSync(dir, { recursive: true }).map((name) => path.join(dir, name))
  .filter((name) => fs.statSync(name).isFile());

// A SAS of the account, to read and to list: with a key rclone 1.60 puts the account before the host's name.
// https://learn.microsoft.com/rest/api/storageservices/create-account-sas
function accountSas(port) {
  const end = new Date(Date.now() + 3600e3).toISOString().replace(/\.\d+/, '');
  const signed = [account, 'rl', 'b', 'sco', '', end, '', 'https,http', '2020-08-04', ''].join('\n');
  const sig = createHmac('sha256', Buffer.from(accountKey, 'base64')).update(signed).digest('base64');
  const query = new URLSearchParams({ sv: '2020-08-04', ss: 'b', srt: 'sco', sp: 'rl', se: end, spr: 'https,http', sig });
  return `http://127.0.0.1:${port}/${account}?${query}`;
}

// Every frame once, under its hash.
function checkFrames(dir, hashes, who) {
  const found = files(dir).filter((name) => name.includes('frames/'));
  for (const name of found) {
    assert.strictEqual(`${sha256(fs.readFileSync(name))}.jpg`, path.basename(name), `${who}: ${name}`);
  }
  assert.deepStrictEqual(found.map((name) => path.basename(name, '.jpg')).sort(), hashes, who);
}

// "MD5  name" lines of the server's own sums.
function checkSums(listing, dir, who) {
  const lines = listing.split('\n').filter((line) => line.includes('frames/'));
  for (const line of lines) {
    const [sum, name] = line.split(/ +/);
    const bytes = fs.readFileSync(path.join(dir, name));
    assert.strictEqual(sum, createHash('md5').update(bytes).digest('hex'), `${who}: ${name}`);
  }
  return lines.length;
}

await main(async () => {
  for (const [command, name] of [['rclone', 'rclone'], ['aws', 'awscli']]) {
    if (!fs.existsSync(`/usr/bin/${command}`)) skip(`${name} is not installed`);
  }
  const dir = scratch('readback');
  const [azuritePort, rgwPort, monPort, ingestPort] = [await freePort(), await freePort(), await freePort(), await freePort()];
  start('azurite.sh', path.join(dir, 'azurite'), azuritePort);
  start('rgw.sh', path.join(dir, 'rgw'), rgwPort, monPort);
  const config = writeConfig(dir, `
version: 1
device: {id: test-device, clock: trusted}
model: {dir: ${modelDir(dir)}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${ingestPort}"}
sync:
  remotes:
    blobs: {type: azure, create_containers: true, url: "http://127.0.0.1:${azuritePort}/${account}", account_key: "${accountKey}"}
    objects:
      {type: s3, url: "http://127.0.0.1:${rgwPort}", bucket: cameras, prefix: site-1, region: us-east-1, create_containers: true,
       access_key: ${key}, secret_key: ${secret}}
`);
  const daemon = await startDaemon(config, answers(`http://127.0.0.1:${ingestPort}/`));
  fs.mkdirSync(path.join(dir, 'photos'));
  for (const file of photos(path.join(dir, 'photos'), PHOTOS)) await curlScore(ingestPort, file, '?wait=stored');
  const sync = run('sync', '--wait', '--timeout', '90', '--config', config);
  assert.strictEqual(sync.status, 0, sync.stderr + sync.stdout);
  const frames = run('ls', '--limit', '500', '--json', '--config', config).stdout.toString().trim().split("\n").map((line) => JSON.parse(line));
  const hashes = [...new Set(frames.map((frame) => frame.sha256))].sort();
  assert.strictEqual(hashes.length, PHOTOS);
  await stop(daemon);

  const rclone = path.join(dir, 'rclone.conf');
  fs.writeFileSync(rclone, `
[blobs]
type = azureblob
sas_url = ${accountSas(azuritePort)}
[objects]
type = s3
provider = Ceph
access_key_id = ${key}
secret_access_key = ${secret}
endpoint = http://127.0.0.1:${rgwPort}
`);
  for (const [remote, where] of [['blobs', 'blobs:'], ['objects', 'objects:cameras/site-1']]) {
    const to = path.join(dir, `rclone-${remote}`);
    tool('rclone', ['--config', rclone, 'copy', where, to]);
    checkFrames(to, hashes, `rclone, ${remote}`);
    tool('rclone', ['--config', rclone, 'check', where, to]);
    const sums = checkSums(tool('rclone', ['--config', rclone, 'hashsum', 'MD5', where]), to, `rclone, ${remote}`);
    assert.strictEqual(sums, PHOTOS);
    console.log(`rclone read ${sums} frames from ${remote}; every hash agrees`);
  }
  const to = path.join(dir, 'aws');
  tool('/usr/bin/aws', ['--endpoint-url', `http://127.0.0.1:${rgwPort}`, 's3', 'sync', '--only-show-errors', 's3://cameras/site-1', to],
    { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: secret, AWS_DEFAULT_REGION: 'us-east-1' });
  checkFrames(to, hashes, 'awscli');
  console.log(`awscli read ${hashes.length} frames; every hash agrees`);
});
