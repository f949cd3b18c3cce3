// Every kind of camera feeds one daemon, from real servers: nginx's RTMP module and ffmpeg publishing, a publisher that
// calls creel, GStreamer's RTSP server with digest authentication, a looped film, a motion-JPEG stream, still pictures
// behind digest authentication. Motion-JPEG must be kept as it came, and no password may be seen anywhere.
//
// CREEL_LIVE555=/path/to/live555MediaServer adds live555's media server, which Debian 12 has no package of.
import assert from 'node:assert';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import {
  controlAnswers, freePort, main, run, runJson, scratch, sha256, sourceDir, startDaemon, startProgram, stop, until, writeConfig,
} from '../lib.mjs';

const FRAMES = 8; // of each camera
const PASSWORD = 'p@ss%w0rd';
const ENCODED = encodeURIComponent(PASSWORD);

const ffmpeg = (...args) => execFileSync('ffmpeg', ['-nostdin', '-loglevel', 'error', ...args]);
const md5 = (text) => createHash('md5').update(text).digest('hex');

function films(dir) {
  const film = path.join(dir, 'film.mp4');
  const source = ['-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=10'];
  ffmpeg(...source, '-t', '20', '-c:v', 'libx264', '-preset', 'ultrafast', '-g', '10', '-pix_fmt', 'yuv420p', film);
  ffmpeg(...source, '-frames:v', '12', '-q:v', '3', path.join(dir, 'still%02d.jpg'));
  const stills = fs.readdirSync(dir).filter((name) => name.startsWith('still')).sort()
    .map((name) => fs.readFileSync(path.join(dir, name)));
  const white = path.join(dir, 'white.mp4'); // in the range of video: its white is 235
  ffmpeg('-f', 'lavfi', '-i', 'color=white:size=320x240:rate=10', '-frames:v', String(FRAMES),
    '-c:v', 'libx264', '-pix_fmt', 'yuv420p', white);
  return { film, white, stills };
}

// Motion-JPEG at /stream (basic), still pictures at /picture (digest).
function startWebCamera(stills, port, tls) {
  const basic = `Basic ${Buffer.from(`viewer:${PASSWORD}`).toString('base64')}`;
  let turn = 0;
  const server = (tls ? https : http).createServer(tls || {}, (request, reply) => {
    const given = request.headers.authorization || '';
    if (request.url.startsWith('/picture')) {
      const facts = Object.fromEntries([...given.matchAll(/(\w+)="?([^",]+)"?/g)].map(([, name, value]) => [name, value]));
      const wanted = md5(`${md5(`viewer:cam:${PASSWORD}`)}:abc:${facts.nc}:${facts.cnonce}:auth:${md5(`GET:${request.url}`)}`);
      if (facts.response !== wanted) {
        reply.writeHead(401, { 'WWW-Authenticate': 'Digest realm="cam", nonce="abc", qop="auth"' });
        return reply.end();
      }
      turn += 1;
      return reply.writeHead(200, { 'Content-Type': 'image/jpeg' }).end(stills[turn % stills.length]);
    }
    if (given !== basic) return reply.writeHead(401, { 'WWW-Authenticate': 'Basic realm="cam"' }).end();
    reply.writeHead(200, { 'Content-Type': 'multipart/x-mixed-replace; boundary=frame' });
    let next = 0;
    const timer = setInterval(() => {
      const still = stills[next++ % stills.length];
      reply.write(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${still.length}\r\n\r\n`);
      reply.write(still);
      reply.write('\r\n');
    }, 100);
    return request.socket.on('close', () => clearInterval(timer));
  });
  return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)));
}

async function startNginx(dir, port) {
  const config = path.join(dir, 'nginx.conf');
  fs.writeFileSync(config, `daemon off; pid ${dir}/nginx.pid; error_log ${dir}/nginx.log; worker_processes 1;
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
events {}
rtmp { server { listen 127.0.0.1:${port}; application live { live on; } } }
`);
  const child = startProgram('/usr/sbin/nginx', ['-e', `${dir}/nginx.log`, '-c', config], `${dir}/nginx.out`);
  await until('nginx', () => fs.existsSync(`${dir}/nginx.pid`) && fs.statSync(`${dir}/nginx.pid`).size > 0);
  return child;
}

// A certificate that a camera made itself.
function certificate(dir) {
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', `${dir}/key.pem`, '-out', `${dir}/cert.pem`],
  { stdio: 'ignore' });
  return { key: fs.readFileSync(`${dir}/key.pem`), cert: fs.readFileSync(`${dir}/cert.pem`) };
}

const publish = (dir, film, url) => startProgram('sh', ['-c',
  `while ! ffmpeg -nostdin -loglevel error -re -stream_loop -1 -i ${film} -c copy -f flv ${url}; do sleep 0.3; done`],
`${dir}/publish.log`);

async function startLive555(dir, film) {
  ffmpeg('-i', film, '-c', 'copy', path.join(dir, 'film.mkv'));
  const log = path.join(dir, 'live555.log');
  startProgram('sh', ['-c', `cd ${dir} && exec ${process.env.CREEL_LIVE555}`], log);
  const said = await until('live555', () => fs.readFileSync(log, 'utf8').match(/rtsp:\/\/[^/]*?(:\d+)?\/<filename>/));
  return `  live555: {source: "rtsp://127.0.0.1${said[1] || ''}/film.mkv", fps: 5}\n`;
}

function processesSee(word) {
  return fs.readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).some((pid) => {
    try {
      const command = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const ours = command.includes('creel');
      return ours && !command.includes('rtsp.py') && (command + fs.readFileSync(`/proc/${pid}/environ`, 'utf8')).includes(word);
    } catch {
      return false;
    }
  });
}

// Each capture process is under a system call filter, can gain no rights, and holds few descriptors.
function sealed() {
  const ours = fs.readdirSync('/proc').filter((pid) => {
    try {
      return fs.readlinkSync(`/proc/${pid}/exe`) === path.join(fs.realpathSync(process.env.CREEL_BUILD_DIR), 'bin/creel-capture');
    } catch {
      return false;
    }
  });
  for (const pid of ours) {
    const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
    assert.match(status, /^NoNewPrivs:\s1$/m);
    assert.match(status, /^Seccomp:\s2$/m);
    assert.ok(fs.readdirSync(`/proc/${pid}/fd`).length < 20);
  }
  return ours.length;
}

const servers = [];

async function test() {
  const dir = scratch('cameras');
  const { film, white, stills } = films(dir);
  const ports = [];
  for (let i = 0; i < 5; i++) ports.push(await freePort());
  const [rtmp, listen, rtsp, web, tls] = ports;
  await startNginx(dir, rtmp);
  publish(dir, film, `rtmp://127.0.0.1:${rtmp}/live/cam`);
  publish(dir, film, `rtmp://127.0.0.1:${listen}/live/phone`);
  startProgram('/usr/bin/python3', [path.join(sourceDir, 'tests/servers/rtsp.py'), film, String(rtsp), 'viewer', PASSWORD],
    `${dir}/rtsp.log`);
  await until('the RTSP server', () => fs.readFileSync(`${dir}/rtsp.log`, 'utf8').includes('ready'));
  servers.push(await startWebCamera(stills, web), await startWebCamera(stills, tls, certificate(dir)));
  const more = process.env.CREEL_LIVE555 ? await startLive555(dir, film) : '';
  fs.writeFileSync(path.join(dir, 'password'), `${PASSWORD}\n`, { mode: 0o600 });
  const config = writeConfig(dir, `
device: {id: cameras, clock: trusted}
cameras:
  film: {source: "video:${film}", fps: 5, loop: true, size: 320x320}
  once: {source: "video:${film}", fps: 1}
  white: {source: "video:${white}"}
  calm: {source: "video:${white}", motion: 0.01}
  rtsp: {source: "rtsp://viewer:${ENCODED}@127.0.0.1:${rtsp}/film", fps: 5}
  rtmp: {source: "rtmp://127.0.0.1:${rtmp}/live/cam", fps: 5}
  phone: {source: "rtmp://127.0.0.1:${listen}/live/phone", rtmp: listen, fps: 5}
  mjpeg: {source: "http://viewer:${ENCODED}@127.0.0.1:${web}/stream?secret=${ENCODED}", fps: 5}
  still: {source: "snapshot:http://localhost:${web}/picture", user: viewer, password: "file:${dir}/password", fps: 5}
  tls-mjpeg: {source: "https://localhost:${tls}/stream", user: viewer, password: "file:${dir}/password", fps: 5, tls: any}
  tls-still: {source: "snapshot:https://localhost:${tls}/picture", user: viewer, password: "file:${dir}/password", fps: 5, tls: any}
  unknown-mjpeg: {source: "https://localhost:${tls}/stream", user: viewer, password: "file:${dir}/password"}
  unknown-still: {source: "snapshot:https://localhost:${tls}/picture", user: viewer, password: "file:${dir}/password"}
${more}model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
store: {dir: ${dir}/store, quota: 512MiB, min_free: off}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
web: {listen: "off"}
ingest: {listen: "off"}
log: {level: debug}
`);
  const daemon = await startDaemon(config, controlAnswers(config));
  const status = await until('frames of every camera', () => {
    const now = runJson('status', '--json', '--config', config);
    return now.cameras.every((camera) => camera.frames_seen >= FRAMES || camera.name === 'calm' || camera.errors > 0) ? now : null;
  }, 40000).catch((error) => {
    console.error(JSON.stringify(runJson('status', '--json', '--config', config).cameras, null, 1));
    console.error(fs.readFileSync(daemon.logFile, 'utf8').split('\n').filter((line) => !line.includes('worker says')).join('\n'));
    throw error;
  });
  assert.ok(!processesSee(PASSWORD) && !processesSee(ENCODED), 'a password is in an argument or a variable');
  console.log(`${sealed()} capture processes, all sealed`);
  for (const camera of status.cameras) {
    console.log(`${camera.name}: ${camera.frames_seen} frames, ${camera.kept} kept, ${camera.bad} bad, ${camera.errors} errors`);
    assert.strictEqual(camera.bad, 0);
    const unknown = camera.name.startsWith('unknown-');
    assert.strictEqual(unknown, camera.errors > 0, `${camera.name}: ${camera.last_error}`);
    assert.ok(!unknown || camera.frames_seen === 0, 'a certificate that nobody vouches for was taken');
    if (unknown) assert.match(camera.last_error, /certificate/);
    if (camera.name === 'calm') assert.strictEqual(camera.frames_seen, 1, 'nothing moves');
  }
  const seen = JSON.stringify(status) + run('config', 'show', '--config', config).stdout + fs.readFileSync(daemon.logFile, 'utf8');
  assert.ok(!seen.includes(PASSWORD), 'a password is in the status or the log');
  assert.ok(!JSON.stringify(status).includes(ENCODED) && !fs.readFileSync(daemon.logFile, 'utf8').includes(ENCODED));
  assert.ok(JSON.stringify(status).includes('http://***@127.0.0.1'));
  assert.strictEqual(await stop(daemon), 0);

  const hashes = new Set(stills.map(sha256));
  const page = run('ls', '--json', '--limit', '500', '--config', config);
  assert.strictEqual(page.status, 0, page.stderr);
  const frames = page.stdout.toString().trim().split('\n').map((line) => JSON.parse(line));
  for (const name of ['mjpeg', 'still']) {
    const own = frames.filter((frame) => frame.camera === name);
    assert.ok(own.length > 0, `nothing of ${name} was kept`);
    assert.ok(own.every((frame) => hashes.has(frame.sha256)), `${name} was not kept as it came`);
  }
  const bright = frames.filter((frame) => frame.camera === 'white');
  assert.ok(bright.length === FRAMES && bright.every((frame) => frame.quality.luma_mean > 0.98), 'white is not white');
  const small = frames.filter((frame) => frame.camera === 'film');
  assert.ok(small.length > 0 && small.every((frame) => frame.width === 320 && frame.height === 180), 'film is not 320x180');
}

await main(() => test().finally(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
}));
