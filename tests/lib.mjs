// What the integration and browser tests share: folders, ports, processes, Azurite, the daemon.
import { spawn, spawnSync, execFileSync } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

export const buildDir = process.env.CREEL_BUILD_DIR;
export const sourceDir = process.env.CREEL_SOURCE_DIR;
export const nodeDir = process.env.CREEL_NODE_DIR;
export const creel = path.join(buildDir, 'bin', 'creel');

const running = new Set();
const folders = [];

export function scratch(name) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), `creel-${name}-`));
  folders.push(dir);
  return dir;
}

// Ends what was started and removes the folders; call once, at the end, whatever happened.
export async function cleanUp() {
  for (const child of running) child.kill('SIGKILL');
  await Promise.all([...running].map(ended));
  if (!process.env.CREEL_KEEP) for (const dir of folders) fs.rmSync(dir, { recursive: true, force: true });
}

export async function main(test) {
  try {
    await test();
    console.log('ok');
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    await cleanUp();
  }
}

export function skip(reason) {
  console.log(`skipped: ${reason}`);
  process.exit(77);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(what, probe, timeoutMs = 30000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`timed out waiting for ${what}`);
    await sleep(50);
  }
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function ended(child) {
  return child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once('exit', resolve));
}

export function startProgram(command, args, logFile, env = {}) {
  const log = fs.openSync(logFile, 'a');
  const child = spawn(command, args, { stdio: ['ignore', log, log], env: { ...process.env, ...env } });
  fs.closeSync(log);
  child.logFile = logFile;
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

export async function stop(child, signal = 'SIGTERM') {
  child.kill(signal);
  await ended(child);
  return child.exitCode;
}

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

// ---- Azurite: the account is the one it ships with, known to everybody ----

export const account = 'devstoreaccount1';
export const accountKey =
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

export async function startAzurite(dir, port) {
  const program = path.join(nodeDir, 'node_modules/azurite/dist/src/blob/main.js');
  if (!fs.existsSync(program)) throw new Error(`Azurite is missing at ${program}; tests/run.sh installs it`);
  const child = startProgram(path.join(nodeDir, 'node_modules/.bin/node'),
    [program, '--silent', '--disableTelemetry', '--blobHost', '127.0.0.1', '--blobPort', String(port),
      '--location', dir], path.join(dir, 'azurite.log'));
  child.port = port;
  await until('Azurite', () => fetch(`http://127.0.0.1:${port}/`).then(() => true, () => false));
  return child;
}

// SharedKey for the few requests the tests make themselves, written apart from creel's own signer.
export async function azure(port, method, pathAndQuery) {
  const url = new URL(`http://127.0.0.1:${port}/${account}${pathAndQuery}`);
  const date = new Date().toUTCString();
  const headers = { 'x-ms-date': date, 'x-ms-version': '2021-12-02' };
  const query = [...url.searchParams].sort().map(([k, v]) => `\n${k}:${v}`).join('');
  const text = `${method}\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:${date}\nx-ms-version:2021-12-02\n/${account}${url.pathname}${query}`;
  const signature = createHmac('sha256', Buffer.from(accountKey, 'base64')).update(text).digest('base64');
  return fetch(url, { method, headers: { ...headers, Authorization: `SharedKey ${account}:${signature}` } });
}

// Every blob of a container: [{name, bytes}].
export async function azureBlobs(port, container) {
  const blobs = [];
  for (let marker = ''; ;) {
    const reply = await azure(port, 'GET', `/${container}?comp=list&marker=${encodeURIComponent(marker)}&restype=container`);
    if (reply.status === 404) return [];
    const xml = await reply.text();
    if (!reply.ok) throw new Error(`listing ${container}: ${reply.status} ${xml}`);
    for (const [, name] of xml.matchAll(/<Name>([^<]*)<\/Name>/g)) {
      const blob = await azure(port, 'GET', `/${container}/${name}`);
      blobs.push({ name, bytes: Buffer.from(await blob.arrayBuffer()) });
    }
    marker = (xml.match(/<NextMarker>([^<]*)<\/NextMarker>/) || [])[1] || '';
    if (!marker) return blobs;
  }
}

// ---- creel ----

export function writeConfig(dir, text) {
  const file = path.join(dir, 'creel.yaml');
  fs.writeFileSync(file, text, { mode: 0o600 });
  return file;
}

export async function startDaemon(config, ready, args = []) {
  const child = startProgram(creel, ['run', '--config', config, ...args], path.join(path.dirname(config), 'daemon.log'));
  await until('the daemon', async () => {
    if (child.exitCode !== null) {
      throw new Error(`the daemon ended with ${child.exitCode}:\n${fs.readFileSync(child.logFile, 'utf8')}`);
    }
    return ready();
  });
  return child;
}

// Whether the daemon of a config answers its control socket: its file is there a moment earlier.
export const controlAnswers = (config) => () => run('status', '--config', config).status === 0;

export const answers = (url) => () => fetch(url).then((reply) => reply.ok, () => false);

// Runs a creel command; returns {status, stdout, stderr}.
export function run(...args) {
  const result = spawnSync(creel, args, { maxBuffer: 1 << 28 });
  return { status: result.status, stdout: result.stdout, stderr: result.stderr.toString() };
}

export function runJson(...args) {
  const result = run(...args);
  if (result.status !== 0) throw new Error(`creel ${args.join(' ')}: exit ${result.status}: ${result.stderr}`);
  return JSON.parse(result.stdout.toString());
}

// The COCO model to test with where there is one, else the model that comes with creel.
export function modelDir(scratchDir) {
  const shared = process.env.CREEL_SHARED_MODELS || path.join(sourceDir, '..', 'shared', 'models');
  const from = path.join(shared, 'yolo-fastest-1.1');
  if (!fs.existsSync(from)) return path.join(sourceDir, 'inference', 'models', 'demo');
  const to = path.join(scratchDir, 'yolo-fastest');
  fs.mkdirSync(to);
  const hashes = [];
  for (const [key, file] of [['cfg', 'yolo-fastest-1.1.cfg'], ['weights', 'yolo-fastest-1.1.weights'], ['names', 'coco.names']]) {
    fs.copyFileSync(path.join(from, file), path.join(to, file));
    fs.chmodSync(path.join(to, file), 0o644);
    hashes.push(`  ${key}: ${sha256(fs.readFileSync(path.join(to, file)))}`);
  }
  fs.writeFileSync(path.join(to, 'model.yaml'),
    `name: yolo-fastest\nversion: "1.1"\ncfg: yolo-fastest-1.1.cfg\nweights: yolo-fastest-1.1.weights\n` +
    `names: coco.names\nsha256:\n${hashes.join('\n')}\nthreshold: 0.25\nnms: 0.45\n`);
  return to;
}

// `count` varied photos made from those of Darknet's package.
export function photos(dir, count) {
  const places = ['/usr/share/darknet/data', path.join(sourceDir, 'build/darknet/usr/share/darknet/data')];
  const from = places.find((place) => fs.existsSync(place));
  if (!from) throw new Error('no photos: config/setup.sh darknet unpacks them');
  const originals = fs.readdirSync(from).filter((name) => name.endsWith('.jpg')).sort().map((name) => path.join(from, name));
  return execFileSync(path.join(buildDir, 'tests', 'photos'), [dir, String(count), ...originals])
    .toString().trim().split('\n');
}

// Posts one file with curl; {status, body, headers (Map), failed}.
export function curlScore(port, file, query = '') {
  return new Promise((resolve) => {
    const child = spawn('curl', ['-s', '-i', '--max-time', '60', '-H', 'Content-Type: image/jpeg', '-H', 'Expect:',
      '--data-binary', `@${file}`, `http://127.0.0.1:${port}/score${query}`]);
    const chunks = [];
    child.stdout.on('data', (chunk) => chunks.push(chunk));
    child.on('close', (code) => {
      const text = Buffer.concat(chunks).toString();
      const end = text.indexOf('\r\n\r\n');
      if (code !== 0 || end < 0) return resolve({ failed: true, status: 0, body: '', headers: new Map() });
      const [first, ...lines] = text.slice(0, end).split('\r\n');
      const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(),
        line.slice(line.indexOf(':') + 1).trim()]));
      return resolve({ failed: false, status: Number(first.split(' ')[1]), body: text.slice(end + 4), headers });
    });
  });
}
