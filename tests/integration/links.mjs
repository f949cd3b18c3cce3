// `creel link` with each of Azure's credentials, against Azurite over TLS: the link opens that frame and no other, only
// to read, and ends; and where no link can be had, the answer says which right is missing.
import assert from 'node:assert';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {
  account, accountKey, answers, curlScore, freePort, main, modelDir, photos, run, runJson, scratch, sha256, sourceDir,
  startDaemon, startProgram, stop, until, writeConfig,
} from '../lib.mjs';

// An authority that gives everybody a token for an hour; Azurite checks its times, issuer and audience.
const authority = `
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  require('node:http').createServer((request, reply) => {
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: 'https://sts.windows.net/tenant/', aud: 'https://storage.azure.com', iat: now - 60, nbf: now - 60,
      exp: now + 3600, oid: 'camera', tid: 'tenant', sub: 'camera' };
    const token = part({ alg: 'HS256', typ: 'JWT' }) + '.' + part(claims) + '.' + Buffer.from('nobody looks').toString('base64url');
    reply.end(JSON.stringify({ token_type: 'Bearer', expires_in: 3600, access_token: token }));
  }).listen(Number(process.argv[1]), '127.0.0.1');
`;

await main(async () => {
  const dir = scratch('links');
  const [azuritePort, tokenPort, ingestPort] = [await freePort(), await freePort(), await freePort()];
  const azurite = path.join(dir, 'azurite');
  const server = path.join(sourceDir, 'tests/servers/azurite.sh');
  execFileSync(server, ['start', azurite, String(azuritePort), 'https'], { env: { ...process.env, OWNER_PID: String(process.pid) }, stdio: 'ignore' });
  const ca = path.join(azurite, 'cert.pem');
  startProgram(process.execPath, ['-e', authority, String(tokenPort)], path.join(dir, 'authority.log'));
  await until('the authority', answers(`http://127.0.0.1:${tokenPort}/`));
  const configure = (credential) => writeConfig(dir, `
version: 1
device: {id: test-device, clock: trusted}
model: {dir: ${model}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${ingestPort}"}
sync:
  remotes:
    cloud:
      type: azure
      create_containers: true
      url: "https://127.0.0.1:${azuritePort}/${account}"
      ca_file: ${ca}
${Object.entries(credential).map(([key, value]) => `      ${key}: "${value}"\n`).join('')}`);
  const model = modelDir(dir);
  const config = configure({ tenant_id: 'tenant', client_id: 'app-1', client_secret: 'secret-of-the-app', token_url: `http://127.0.0.1:${tokenPort}` });
  const ready = answers(`http://127.0.0.1:${ingestPort}/`);
  const daemon = await startDaemon(config, ready);

  fs.mkdirSync(path.join(dir, 'photos'));
  for (const file of photos(path.join(dir, 'photos'), 8)) await curlScore(ingestPort, file, '?wait=stored');
  const sync = run('sync', '--wait', '--timeout', '60', '--config', config);
  assert.strictEqual(sync.status, 0, sync.stderr + sync.stdout);
  const frame = runJson('show', '@last', '--json', '--config', config);

  const curl = (...args) => spawnSync('curl', ['-s', '--noproxy', '*', '--cacert', ca, '-w', '\n%{http_code}', ...args], { maxBuffer: 1 << 26 }).stdout;
  const statusOf = (bytes) => Number(bytes.subarray(bytes.lastIndexOf(10) + 1).toString());
  const opens = (url, what) => {
    const got = curl(url);
    assert.strictEqual(statusOf(got), 200, what);
    assert.strictEqual(sha256(got.subarray(0, got.lastIndexOf(10))), frame.sha256, what);
    const { searchParams } = new URL(url);
    assert.deepStrictEqual(['sp', 'sr'].map((name) => searchParams.get(name)), ['r', 'b'], what);
    const other = url.replace(frame.sha256, frame.sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0')));
    assert.strictEqual(statusOf(curl(other)), 403, `${what}: another blob`);
    assert.strictEqual(statusOf(curl('-X', 'PUT', '-H', 'x-ms-blob-type: BlockBlob', '-d', 'x', url)), 403, `${what}: a write`);
    assert.strictEqual(statusOf(curl('-X', 'DELETE', url)), 403, `${what}: a delete`);
    assert.strictEqual(statusOf(curl(url.replace('sp=r', 'sp=rw'))), 403, `${what}: more rights`);
    return searchParams;
  };
  const link = (...args) => run('link', frame.id, ...args, '--config', config);
  const line = (result) => {
    assert.strictEqual(result.status, 0, result.stderr);
    return result.stdout.toString().trim();
  };

  // A token: Azure lends the running daemon a key.
  const minted = JSON.parse(line(link('--ttl', '15m', '--json')));
  const left = (new Date(minted.expires) - Date.now()) / 1000;
  assert.ok(minted.kind === 'azure' && left > 880 && left <= 900, JSON.stringify(minted));
  assert.strictEqual(opens(minted.url, 'a lent key').get('skoid'), 'camera');
  const short = line(link('--ttl', '2'));
  await until('the end of a link', () => statusOf(curl(short)) === 403, 10000);
  for (const [ttl, words] of [['7d', /at most 6 days/], ['8d', /7 days/]]) {
    const refused = link('--ttl', ttl);
    assert.notStrictEqual(refused.status, 0, ttl);
    assert.match(refused.stderr, words);
  }
  assert.match(link('--ttl', 'soon').stderr, /a time such as 15m/);
  assert.strictEqual(await stop(daemon), 0);
  const alone = link();
  assert.notStrictEqual(alone.status, 0, 'a token without a daemon');
  assert.match(alone.stderr, /has a token, which the running sync alone can sign links with/);

  // An account key needs nobody.
  configure({ account_key: accountKey });
  assert.strictEqual(opens(line(link('--ttl', '900')), 'an account key').get('skoid'), null);

  // A SAS cannot sign, and says what could.
  configure({ sas: 'sv=2020-12-06&sr=c&sp=c&se=2100-01-01T00%3A00%3A00Z&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D' });
  const sas = link();
  assert.notStrictEqual(sas.status, 0, 'a SAS');
  assert.match(sas.stderr, /cannot sign links: that needs account_key or a token/);
  assert.doesNotMatch(sas.stderr, /c2VjcmV0/);
  execFileSync(server, ['stop', azurite]);
});
