// The gallery over TLS as somebody far away meets it: users made by commands, with and without a daemon, a login by curl
// with its cookie jar, a machine's token, and certificates that cannot be used.
import assert from 'node:assert';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import tls from 'node:tls';
import { controlAnswers, creel, freePort, main, run, scratch, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const password = 'correct horse';

function certificate(dir) {
  const [cert, key] = [path.join(dir, 'cert.pem'), path.join(dir, 'key.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert], { stdio: 'pipe' });
  return { cert, key };
}

const configText = (dir, port, ingest, pem) => `
device: {id: web-login, clock: trusted}
model: {dir: ${path.join(sourceDir, 'inference', 'models', 'demo')}}
store: {dir: ${dir}/store, quota: 256MiB, min_free: off}
web: {listen: "0.0.0.0:${port}", tls: {certificate: ${pem.cert}, key: ${pem.key}}}
ingest: {listen: "127.0.0.1:${ingest}"}
`;

const withInput = (input, ...args) => spawnSync(creel, args, { input, encoding: 'utf8' });

function curl(pem, ...args) {
  const made = spawnSync('curl', ['-sS', '--cacert', pem.cert, '-o', '-', '-w', '\n%{http_code}', ...args],
    { encoding: 'utf8' });
  assert.strictEqual(made.status, 0, made.stderr);
  const at = made.stdout.lastIndexOf('\n');
  return { body: made.stdout.slice(0, at), status: Number(made.stdout.slice(at + 1)) };
}

function logsIn(pem, base, jar) {
  const wrong = curl(pem, '-d', 'user=anna', '-d', 'password=wrong horse', `${base}/login`);
  assert.strictEqual(wrong.status, 403);
  const right = curl(pem, '-c', jar, '-D', '-', '--data-urlencode', 'user=anna', '--data-urlencode', `password=${password}`,
    `${base}/login`);
  assert.strictEqual(right.status, 303);
  assert.match(right.body, /Set-Cookie: __Host-creel=[^;]+; Path=\/; HttpOnly; SameSite=Lax; Secure\r\n/);
  assert.strictEqual(curl(pem, '-b', jar, `${base}/`).status, 200);
  assert.strictEqual(curl(pem, '-b', jar, '-X', 'POST', `${base}/logout`).status, 403, 'a change without its CSRF token');
  const [, csrf] = /creel-csrf\t(\S+)/.exec(fs.readFileSync(jar, 'utf8'));
  assert.strictEqual(curl(pem, '-b', jar, '-d', `csrf=${csrf}`, `${base}/logout`).status, 303);
  assert.strictEqual(curl(pem, '-b', jar, `${base}/`).status, 401);
}

// The days of a certificate are short: another one is served from SIGHUP on, and who is connected stays so. One that cannot
// be used changes nothing.
async function otherCertificate(daemon, pem, port) {
  const served = () => new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      const { fingerprint256 } = socket.getPeerCertificate();
      resolve({ fingerprint256, socket });
    }).on('error', reject);
  });
  const answer = (socket) => new Promise((resolve, reject) => {
    socket.once('data', (bytes) => resolve(bytes.toString('latin1').slice(0, 12))).once('error', reject);
    socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  });
  const log = () => fs.readFileSync(daemon.logFile, 'utf8');
  const before = await served();
  const other = certificate(scratch('web-login-other'));
  const good = { cert: fs.readFileSync(other.cert), key: fs.readFileSync(other.key) };
  fs.writeFileSync(pem.cert, good.cert.subarray(0, 200));
  daemon.kill('SIGHUP');
  await until('the complaint', () => /certificates not changed/.test(log()));
  const during = await served();
  assert.strictEqual(during.fingerprint256, before.fingerprint256);
  fs.writeFileSync(pem.cert, good.cert);
  fs.writeFileSync(pem.key, good.key);
  daemon.kill('SIGHUP');
  await until('the other certificate', () => /certificate read again/.test(log()));
  const after = await served();
  assert.notStrictEqual(after.fingerprint256, before.fingerprint256);
  for (const { socket } of [before, during, after]) assert.strictEqual(await answer(socket), 'HTTP/1.1 200');
  for (const { socket } of [before, during, after]) socket.destroy();
}

async function badCertificates(dir, pem) {
  const cut = path.join(dir, 'cut.pem');
  fs.writeFileSync(cut, fs.readFileSync(pem.cert).subarray(0, 200));
  for (const [cert, key] of [[cut, pem.key], [path.join(dir, 'none.pem'), pem.key]]) {
    const config = writeConfig(dir, configText(dir, await freePort(), await freePort(), { cert, key }));
    const made = run('run', '--config', config);
    assert.strictEqual(made.status, 78, made.stderr);
    assert.match(made.stderr, new RegExp(`web\\.tls[^]*${path.basename(cert)}|${path.basename(cert)}[^]*web\\.tls`));
  }
}

await main(async () => {
  const dir = scratch('web-login');
  const pem = certificate(dir);
  const [port, ingest] = [await freePort(), await freePort()];
  const config = writeConfig(dir, configText(dir, port, ingest, pem));
  const base = `https://localhost:${port}`;

  const refused = run('run', '--config', config);
  assert.strictEqual(refused.status, 78, refused.stderr);
  assert.match(refused.stderr, /creel user add/);
  const added = withInput(`${password}\n`, 'user', 'add', 'anna', '--role', 'admin', '--config', config);
  assert.strictEqual(added.status, 0, added.stderr);
  assert.strictEqual(withInput('short\n', 'user', 'add', 'bo', '--config', config).status, 2);

  const daemon = await startDaemon(config, controlAnswers(config));
  logsIn(pem, base, path.join(dir, 'jar'));
  assert.notStrictEqual(spawnSync('curl', ['-sS', `http://localhost:${port}/`]).stdout.toString().slice(0, 15), '<!doctype html>');

  const token = run('token', 'add', 'exporter', '--scope', 'read', '--days', '1', '--config', config).stdout.toString().trim();
  assert.match(token, /^creel_[\w-]{43}$/);
  const bearer = ['-H', `Authorization: Bearer ${token}`];
  assert.strictEqual(curl(pem, ...bearer, `${base}/metrics`).status, 200);
  assert.strictEqual(curl(pem, ...bearer, '-X', 'POST', `${base}/api/v1/none`).status, 403);
  assert.match(run('token', 'ls', '--config', config).stdout.toString(), /^exporter +read until 20/);
  assert.strictEqual(run('token', 'rm', 'exporter', '--config', config).status, 0);
  assert.strictEqual(curl(pem, ...bearer, `${base}/metrics`).status, 401);
  assert.strictEqual(run('user', 'rm', 'bo', '--config', config).status, 3);
  assert.match(run('user', 'ls', '--config', config).stdout.toString(), /^anna +admin\n$/);
  assert.ok(!fs.readFileSync(daemon.logFile, 'utf8').includes(password));
  const threads = () => fs.readdirSync(`/proc/${daemon.pid}/task`).length;
  const before = threads();
  await otherCertificate(daemon, pem, port);
  assert.strictEqual(curl(pem, `${base}/healthz`).status, 200);
  await until('the end of the old server', () => threads() <= before);
  assert.strictEqual(await stop(daemon), 0);
  await badCertificates(dir, pem);
});
